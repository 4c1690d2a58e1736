"""What the documentation takes from the source: excerpts, and the meaning of every setting."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest
from mkdocs.exceptions import PluginError

ROOT = Path(__file__).parents[2]


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / "hooks" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_an_excerpt_is_the_code_with_its_line_numbers() -> None:
    shown = load("excerpts").on_page_markdown("```excerpt\nlightseek.fusion.make_projector\n```")
    source = (ROOT / "lightseek" / "fusion.py").read_text(encoding="utf-8").splitlines()
    first = source.index("def make_projector(config: ModelConfig) -> nn.Module:") + 1
    assert f'linenums="{first}"' in shown
    assert source[first - 1] in shown
    assert source[-1] in shown


@pytest.mark.parametrize("name", ["lightseek.fusion.Nothing", "lightseek.nowhere.Nothing"])
def test_an_excerpt_of_nothing_ends_the_build(name: str) -> None:
    with pytest.raises(PluginError, match="excerpt"):
        load("excerpts").show(name)


def test_every_setting_says_what_it_means() -> None:
    settings = load("settings")
    page = (ROOT / "docs" / "hyperparameters.md").read_text(encoding="utf-8")
    classes = settings.BLOCK.findall(page)
    assert len(classes) == 3
    keys = [key for name in classes for key in settings.keys(settings.find_class(name))]
    mute = [".".join(key.path) for key in keys if not key.meaning]
    assert not mute


def test_a_value_of_every_kind_is_shown() -> None:
    settings = load("settings")
    assert settings.shown({}) == settings.shown([]) == settings.shown(None) == "–"
    assert settings.shown({"encoder.clip": 1e-5}) == "encoder.clip = 1e-05"
    assert settings.shown([1, [2.5, True]]) == "1, [2.5, yes]"


@pytest.mark.parametrize("page", sorted(ROOT.glob("docs/*.md")), ids=lambda path: path.name)
def test_every_file_that_a_page_shows_is_there(page: Path) -> None:
    """What looks nearly like a marker is printed as it stands, and no build fails for it."""
    for marker in re.findall(r"--8.*", page.read_text(encoding="utf-8")):
        found = re.fullmatch(r'--8<-- "(.*)"', marker)
        assert found, marker
        assert (ROOT / found[1]).is_file()
