"""Fine-tuning: adapters learn beside weights that stay, in bfloat16 and 8 bits, and on strips."""

import copy
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from lightseek.config import ModelConfig, load_config
from lightseek.data.fonts import SHIPPED, load_faces
from lightseek.errors import ModelError, UsageError
from lightseek.info import describe
from lightseek.linear import Int8Linear, Linear
from lightseek.lora import (
    LoraConfig,
    Settings,
    add_adapters,
    has_adapters,
    is_adapter,
    learnt_of,
    load_adapters,
    merge_adapters,
    save_adapters,
)
from lightseek.model import LightSeekOCR
from lightseek.ocr import OCR
from lightseek.quantize import quantize
from lightseek.tokenizer import Tokenizer
from lightseek.train import batch as batch_module
from lightseek.train import exam as exam_module
from lightseek.train import run as training
from lightseek.train.batch import StripBatches
from lightseek.train.checkpoint import RunFolder
from lightseek.train.pages.loop import train_pages
from lightseek.train.pages.recipe import AdamWRecipe, CosineSchedule, PageRecipe, PagesRecipe
from lightseek.train.pages.start import begin_model
from lightseek.train.pages.state import PageProgress
from lightseek.train.progress import read_curve
from lightseek.train.recipe import NewRecipe, Recipe, Stage
from lightseek.train.run import train
from lightseek.views import MODES
from lightseek.weights import load_model, sample_model, save_model

pytest.importorskip("peft")
pytest.importorskip("accelerate")

CPU = torch.device("cpu")
OF_DECODER = LoraConfig(rank=4, alpha=8, dropout=0.0, targets=("query", "key", "value", "out"))
OF_BOTH = LoraConfig(
    rank=2, alpha=4, dropout=0.0, targets=("qkv", "conv1", "query"), parts=("encoder", "decoder")
)
FROZEN = ("encoder", "embedding", "head", "row_end", "view_separator")


@pytest.fixture(params=["bfloat16", "int8"])
def base(
    request: pytest.FixtureRequest, official_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A model of the official family, as it is published and in 8 bits."""
    if request.param == "bfloat16":
        return official_folder
    folder = tmp_path_factory.mktemp("small") / "int8"
    quantize(str(official_folder), folder)
    return folder


@pytest.fixture
def page_recipe(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[PageRecipe]:
    """Adapters learn four pages by heart."""
    from accelerate.state import AcceleratorState

    monkeypatch.setitem(MODES, "base", replace(MODES["base"], page_px=128))
    pages = tmp_path / "pages"
    pages.mkdir()
    for name in ("fox", "dog", "over", "nine"):
        image = Image.new("RGB", (120, 120), "white")
        ImageDraw.Draw(image).text((10, 10), name, "black")
        image.save(pages / f"{name}.png")
        (pages / f"{name}.txt").write_text(name, encoding="utf-8")
    yield PageRecipe(
        model=str(base),
        seed=1,
        steps=6,
        batch=4,
        accumulate=1,
        precision="bf16",
        evaluate_every=3,
        freeze=FROZEN,
        lora=OF_DECODER,
        pages=PagesRecipe(
            train=str(pages), held_out=str(pages), mode="base", longest=12, prompt="free"
        ),
        optimiser=AdamWRecipe(rate=2e-2, decay=0.0, clip_norm=1.0),
        schedule=CosineSchedule(kind="cosine", warmup_steps=1, end=0.5),
    )
    AcceleratorState._reset_state(reset_partial_state=True)


def weights_of(model: LightSeekOCR) -> dict[str, Tensor]:
    """Everything but adapters, those in 8 bits spread out."""
    kept = {n: p.detach().clone() for n, p in model.named_parameters() if not is_adapter(n)}
    parts = ((n, m) for n, m in model.named_modules() if isinstance(m, Int8Linear))
    return kept | {n: part.spread(torch.float32) for n, part in parts}


def test_adapters_learn_beside_weights_that_stay(
    page_recipe: PageRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[LightSeekOCR, dict[str, Tensor]]] = []
    real = begin_model

    def begin(recipe: PageRecipe) -> tuple[LightSeekOCR, Tokenizer]:
        model, tokenizer = real(recipe)
        seen.append((model, weights_of(model)))
        return model, tokenizer

    monkeypatch.setattr("lightseek.train.pages.loop.begin_model", begin)
    run = tmp_path / "run"
    train_pages(page_recipe, run, device="cpu")
    model, before = seen[0]
    after = weights_of(model)
    assert all(tensor.equal(after[name]) for name, tensor in before.items())
    layers = [m for n, m in model.named_modules() if isinstance(m, Linear) and not is_adapter(n)]
    assert {layer.weight.dtype for layer in layers} <= {torch.bfloat16}
    assert {p.dtype for p in learnt_of(model).values()} == {torch.float32}
    found = RunFolder(run).load_as(PageProgress)
    assert found is not None
    tensors, progress = found
    assert all(is_adapter(name) for name in tensors)
    assert all(tensor.any() for name, tensor in tensors.items() if "lora_B" in name)
    assert progress.best_loss is not None
    losses = curve(run, "loss")
    assert losses[-1] < 0.9 * losses[0]


def test_a_run_with_adapters_leaves_what_reads(page_recipe: PageRecipe, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train_pages(page_recipe, run, device="cpu")
    assert {file.suffix for file in (run / "model").iterdir()} == {".json", ".safetensors"}
    size = sum(file.stat().st_size for file in (run / "model").glob("*.safetensors"))
    assert size < 50_000, "adapters alone"
    merged, _ = load_model(run / "model", device=CPU, dtype=torch.float32)
    apart, _ = load_model(page_recipe.model, device=CPU, dtype=torch.float32)
    plain = answers(apart)
    load_adapters(run / "model", apart)
    apart.eval()
    learnt = answers(apart)
    assert not torch.allclose(learnt, plain, atol=1e-3)
    torch.testing.assert_close(answers(merged), learnt, atol=1e-4, rtol=1e-4)
    assert has_adapters(merged) == apart.config.int8, "8 bits would round away what was learnt"
    assert OCR(str(run / "model")).read(page_recipe.pages.train + "/fox.png").pages


def test_weights_in_8_bits_do_not_learn_by_themselves(page_recipe: PageRecipe) -> None:
    if not load_config_of(page_recipe).int8:
        pytest.skip("these do")
    with pytest.raises(UsageError, match="is in 8 bits, which do not learn: give it adapters"):
        begin_model(replace(page_recipe, lora=None))


def test_adapters_whose_model_is_gone_say_so(tmp_path: Path, tiny_model: LightSeekOCR) -> None:
    model = copy.deepcopy(tiny_model)
    add_adapters(model, OF_BOTH)
    gone = Settings(base=str(tmp_path / "gone"), mode="blocks", lora=OF_BOTH)
    save_adapters(tmp_path / "tuned", learnt_of(model), gone)
    with pytest.raises(ModelError, match=r"tuned holds adapters of .*gone: no model"):
        load_model(tmp_path / "tuned", device=CPU, dtype=torch.float32)
    for use in (describe, lambda name: quantize(name, tmp_path / "small")):
        with pytest.raises(ModelError, match=r"tuned holds adapters of .*gone and no model: give"):
            use(str(tmp_path / "tuned"))


def test_adapters_that_are_not_whole_say_so(
    tmp_path: Path, tiny_model: LightSeekOCR, tiny_tokenizer: Tokenizer
) -> None:
    base, tuned = tmp_path / "base", tmp_path / "tuned"
    save_model(base, tiny_model, tiny_tokenizer)
    model = copy.deepcopy(tiny_model)
    add_adapters(model, OF_BOTH)
    settings = Settings(base=str(base), mode="blocks", lora=OF_BOTH)
    learnt = learnt_of(model)
    save_adapters(tuned, dict(list(learnt.items())[1:]), settings)
    with pytest.raises(ModelError, match="tuned is not whole: adapters"):
        load_model(tuned, device=CPU, dtype=torch.float32)
    save_adapters(tuned, learnt, replace(settings, base=str(tuned)))
    with pytest.raises(ModelError, match="tuned holds adapters of itself"):
        load_model(tuned, device=CPU, dtype=torch.float32)


def test_adapters_of_a_model_that_has_changed_say_so(
    tmp_path: Path, tiny_model: LightSeekOCR, tiny_tokenizer: Tokenizer
) -> None:
    base = tmp_path / "base"
    save_model(base, tiny_model, tiny_tokenizer)
    model = copy.deepcopy(tiny_model)
    add_adapters(model, OF_BOTH)
    settings = Settings(base=str(base), mode="blocks", lora=OF_BOTH, base_sample=sample_model(base))
    save_adapters(tmp_path / "tuned", learnt_of(model), settings)
    load_model(tmp_path / "tuned", device=CPU, dtype=torch.float32)
    assert sample_model(tmp_path / "tuned") != sample_model(base), "adapters can be a base too"
    other = copy.deepcopy(tiny_model)
    for parameter in other.parameters():
        parameter.data += 1
    save_model(base, other, tiny_tokenizer)
    with pytest.raises(ModelError, match=r"of .*base as it was: it has other weights now"):
        load_model(tmp_path / "tuned", device=CPU, dtype=torch.float32)


@torch.inference_mode()
def test_an_encoder_takes_adapters_and_loses_them_when_merged(tiny_model: LightSeekOCR) -> None:
    model = copy.deepcopy(tiny_model)
    add_adapters(model, OF_BOTH)
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.normal_(std=0.1)
    views = torch.rand(1, 1, 64, 256)
    adapted = model.visual_tokens(views)
    assert not torch.allclose(adapted, tiny_model.visual_tokens(views))
    merge_adapters(model)
    torch.testing.assert_close(model.visual_tokens(views), adapted, atol=1e-4, rtol=1e-4)
    assert model.state_dict().keys() == tiny_model.state_dict().keys()
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"parts": ("eyes",)}, "the model has no part eyes for adapters"),
        ({"targets": ("qkv",), "parts": ("encoder", "decoder")}, "no layer of the decoder is call"),
    ],
)
def test_a_part_without_such_layers_is_refused(
    tiny_model: LightSeekOCR, change: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        add_adapters(copy.deepcopy(tiny_model), replace(OF_BOTH, **change))


@pytest.fixture
def strips(
    tiny_recipe: Recipe, tiny_config: ModelConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Recipe:
    """Strips of which half are drawn from a text of its own."""
    monkeypatch.setattr(training, "preset", lambda name: load_config(Path(name)))
    monkeypatch.setattr(training, "matrix_rate", lambda dtype, device: 1e12)
    monkeypatch.setattr(exam_module, "HELD_OUT_STRIPS", 2)
    monkeypatch.setattr(batch_module, "load_faces", cache(load_faces))
    (tmp_path / "preset.json").write_text(tiny_config.to_json(), encoding="utf-8")
    text = tmp_path / "text"
    text.mkdir()
    # every word of it can be told from those of the other text
    lines = [f"ZZ{n:04d}ZZ" * 4 for n in range(3000)]
    (text / "de.txt").write_text("\n".join(lines), encoding="utf-8")
    new = NewRecipe(fonts=str(SHIPPED), text=str(text), share=0.5)
    return replace(
        tiny_recipe,
        model=str(tmp_path / "preset.json"),
        steps=4,
        data=replace(tiny_recipe.data, new=new),
        stages=(Stage(until=1.0, widths=(256,), difficulty=0.3),),
        lora=OF_BOTH,
        freeze=("embedding", "place"),
    )


def test_new_text_has_its_share(
    strips: Recipe, tiny_config: ModelConfig, tiny_tokenizer: Tokenizer
) -> None:
    batches = StripBatches(replace(strips, units=40), tiny_config, tiny_tokenizer)
    z = tiny_tokenizer.ids["Z"]
    new = (batches[0].ids == z).sum(1) > 2
    assert 10 <= int(new.sum()) <= 30


def test_adapters_of_a_strip_model_learn_and_read(
    strips: Recipe, tiny_model: LightSeekOCR, tiny_tokenizer: Tokenizer, tmp_path: Path
) -> None:
    start = tmp_path / "start"
    save_model(start, tiny_model, tiny_tokenizer)
    train(strips, tmp_path / "run", device="cpu", processes=1, start=start, stop_after=2)
    train(strips, tmp_path / "run", device="cpu", processes=1, start=start)
    found = RunFolder(tmp_path / "run").load()
    assert found is not None
    names = {name.partition("/")[0] for name in found[0]}
    assert names
    assert all(is_adapter(name) or name.startswith("glyphs.") for name in names)
    tuned, _ = load_model(tmp_path / "run" / "model", device=CPU, dtype=torch.float32)
    model, _ = load_model(start, device=CPU, dtype=torch.float32)
    changed = {n for n, t in model.state_dict().items() if not t.equal(tuned.state_dict()[n])}
    assert changed
    assert all(name.endswith(("qkv.weight", "conv1.weight", "query.weight")) for name in changed)


def test_a_run_that_drops_a_part_of_its_adapters_goes_on_as_if_never_stopped(
    strips: Recipe, tiny_model: LightSeekOCR, tiny_tokenizer: Tokenizer, tmp_path: Path
) -> None:
    assert strips.lora is not None
    dropping = replace(strips, lora=replace(strips.lora, dropout=0.4))
    save_model(tmp_path / "start", tiny_model, tiny_tokenizer)
    for run, stop_after in (("whole", None), ("parted", 1), ("parted", None)):
        train(
            dropping,
            tmp_path / run,
            device="cpu",
            processes=1,
            start=tmp_path / "start",
            stop_after=stop_after,
        )
    whole, parted = (RunFolder(tmp_path / run).load() for run in ("whole", "parted"))
    assert whole is not None
    assert parted is not None
    assert all(torch.equal(tensor, parted[0][name]) for name, tensor in whole[0].items())


def test_adapters_of_nothing_are_refused(strips: Recipe, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="adapters are made for a model: name it"):
        train(strips, tmp_path / "run", device="cpu", processes=1)


def load_config_of(recipe: PageRecipe) -> ModelConfig:
    model, _ = load_model(recipe.model, device=CPU, dtype=torch.float32)
    return model.config


def curve(run: Path, name: str) -> list[float]:
    return [value for _, value in read_curve(run, name)]


@torch.inference_mode()
def answers(model: LightSeekOCR) -> Tensor:
    torch.manual_seed(0)
    visual = torch.randn(1, 6, model.config.decoder.dim)
    return model.predict(model(visual, torch.randint(4, 200, (1, 9)))).what
