from pathlib import Path

import pytest

from lightseek.whole import written_whole


def test_files_take_their_places_together(tmp_path: Path) -> None:
    places = tmp_path / "weights", tmp_path / "sizes"
    places[0].write_text("old")
    with written_whole(*places) as (weights, sizes):
        weights.write_text("new")
        assert places[0].read_text() == "old"
        sizes.write_text("sizes")
        assert not places[1].exists()
    assert [place.read_text() for place in places] == ["new", "sizes"]
    assert sorted(tmp_path.iterdir()) == sorted(places)


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_an_error_leaves_what_was_there_and_nothing_else(
    tmp_path: Path, error: type[BaseException]
) -> None:
    place = tmp_path / "weights"
    place.write_text("old")

    def fail() -> None:
        with written_whole(place, tmp_path / "sizes") as (weights, _):
            weights.write_text("half")
            raise error

    with pytest.raises(error):
        fail()
    assert place.read_text() == "old"
    assert list(tmp_path.iterdir()) == [place]


def test_what_a_killed_process_left_does_not_pile_up(tmp_path: Path) -> None:
    place = tmp_path / "weights"
    with written_whole(place) as (left,), written_whole(place, shared=True) as (other,):
        assert left != other
        left.write_text("half")
        other.write_text("whole")
    left.write_text("half")
    with written_whole(place) as (file,):
        file.write_text("whole")
    assert (list(tmp_path.iterdir()), place.read_text()) == ([place], "whole")


def test_a_file_that_was_not_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), written_whole(tmp_path / "weights"):
        pass
