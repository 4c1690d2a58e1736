"""The table of what training runs brought."""

import json
import runpy
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

Ask = Callable[[list[dict[str, float]]], Result]
SCRIPT = Path(__file__).parents[2] / "runs" / "curve.py"
CURVES = {
    "text_loss": [(10, 4.0), (20, 2.0), (30, 1.0)],
    "token_hits": [(10, 0.1), (20, 0.3), (30, 0.5)],
    "flops": [(10, 1e9), (20, 2e9), (30, 3e9)],
    "held_out_cer": [(20, 0.5), (30, 0.25)],
}


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Run the script on a run, and on a model with a record."""

    def run(record: list[dict[str, float]]) -> Result:
        own = [{"flops": 3e9, "strips": 30}]
        for name, content in (("model", record), ("run/model", own)):
            (tmp_path / name).mkdir(parents=True)
            (tmp_path / name / "training.json").write_text(json.dumps(content))
        script = runpy.run_path(str(SCRIPT))
        command, space = script["main"], script["rows_of"].__globals__
        monkeypatch.setitem(space, "read_curve", lambda folder, name: CURVES[name])
        monkeypatch.setitem(space, "find_model", Path)
        return CliRunner().invoke(
            command, [str(tmp_path / "run"), "--model", str(tmp_path / "model")]
        )

    return run


def test_rows_count_what_earlier_runs_saw(ask: Ask) -> None:
    done = ask([{"flops": 1e9}, {"flops": 5e9, "strips": 100}, {"flops": 3e9, "strips": 30}])
    assert done.exit_code == 0, done.output
    assert done.output.splitlines()[2:] == [
        "| 3 | 120 | 8.00e+09 | 3.000 | 20.0 | 50.0 |",
        "| 3 | 130 | 9.00e+09 | 1.000 | 50.0 | 25.0 |",
    ]


def test_a_run_that_the_record_does_not_know(ask: Ask) -> None:
    done = ask([{"flops": 1e9}])
    assert done.exit_code == 1
    assert "the record of the model does not tell of" in done.output
