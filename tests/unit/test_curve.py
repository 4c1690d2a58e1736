"""The table of what training runs brought."""

import json
import runpy
from pathlib import Path

import pytest
from click.testing import CliRunner

SCRIPT = Path(__file__).parents[2] / "runs" / "curve.py"
CURVES = {
    "text_loss": [(10, 4.0), (20, 2.0), (30, 1.0)],
    "token_hits": [(10, 0.1), (20, 0.3), (30, 0.5)],
    "flops": [(10, 1e9), (20, 2e9), (30, 3e9)],
    "held_out_cer": [(20, 0.5), (30, 0.25)],
}


def test_rows_count_what_earlier_runs_saw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [{"flops": 1e9}, {"flops": 5e9, "strips": 100}, {"flops": 3e9, "strips": 30}]
    for name, record in (("model", runs), ("run/model", runs[2:])):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "training.json").write_text(json.dumps(record))
    script = runpy.run_path(str(SCRIPT))
    command, space = script["main"], script["rows_of"].__globals__
    monkeypatch.setitem(space, "read_curve", lambda folder, name: CURVES[name])
    monkeypatch.setitem(space, "find_model", Path)
    model = ["--model", str(tmp_path / "model")]
    done = CliRunner().invoke(command, [str(tmp_path / "run"), *model])
    assert done.exit_code == 0, done.output
    assert done.output.splitlines()[2:] == [
        "| 3 | 120 | 8.00e+09 | 3.000 | 20.0 | 50.0 |",
        "| 3 | 130 | 9.00e+09 | 1.000 | 50.0 | 25.0 |",
    ]
