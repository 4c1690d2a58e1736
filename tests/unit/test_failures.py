import runpy
from collections import Counter
from pathlib import Path

import pytest

SCRIPT = runpy.run_path(str(Path(__file__).parents[2] / "runs" / "failures.py"))


@pytest.mark.parametrize(
    ("read", "truth", "kinds"),
    [
        ("the same", "the same", {}),
        ("RuBENs", "Rubens", {"case": 3}),
        ("prey ; and", "prey; and", {"spaces": 1}),
        ("a, b", "a. b", {"marks": 1}),
        ("17", "18", {"digits": 1}),
        ("mancs", "manes", {"letters": 1}),
        ("a", "a line that was left out", {"passages": 23}),
        ("prcy , 19", "prey, 18", {"letters": 1, "spaces": 1, "digits": 1}),
    ],
)
def test_every_edit_is_of_one_kind(read: str, truth: str, kinds: dict[str, int]) -> None:
    assert SCRIPT["kinds_of_edits"](read, truth) == Counter(kinds)
