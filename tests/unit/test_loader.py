from itertools import chain

import numpy as np
import pytest
import torch

from lightseek.data.loader import BatchLoader, epoch_batches, faults_of_workers
from lightseek.errors import DataError, ModelError

LENGTHS = np.random.default_rng(0).integers(1, 1000, 997)


class Numbers:
    """Rows that are their own numbers."""

    def __init__(self, count: int, longer: int = 0) -> None:
        self.lengths = LENGTHS[:count].copy()
        self.lengths[:1] += longer

    def __getitem__(self, index: int) -> int:
        return index


def loader(
    *,
    rows: int = 97,
    batch_size: int = 8,
    seed: int = 1,
    rank: int = 0,
    world: int = 1,
    longer: int = 0,
    **more: int,
) -> BatchLoader[int, list[int]]:
    return BatchLoader(
        Numbers(rows, longer),
        batch_size=batch_size,
        collate=list,
        seed=seed,
        rank=rank,
        world=world,
        **more,
    )


def test_an_epoch_has_every_row_once() -> None:
    batches = list(loader())
    assert sorted(chain(*batches)) == list(range(97))
    assert len(batches) == len(loader()) == 13
    assert {len(batch) for batch in batches} == {7, 8}


def test_order_follows_seed_and_epoch() -> None:
    one, same, other = loader(), loader(), loader(seed=2)
    first = list(one)
    assert first == list(same)
    assert first != list(other)
    assert one.epoch == 1
    assert list(one) == list(same) != first


def test_rows_of_a_batch_are_of_like_length() -> None:
    batches = epoch_batches(LENGTHS, batch_size=8, seed=0, epoch=0)
    longest = sum(len(batch) * LENGTHS[batch].max() for batch in batches)
    assert longest < 1.1 * LENGTHS.sum()
    means = [LENGTHS[batch].mean() for batch in batches]
    assert np.abs(np.corrcoef(means[1:], means[:-1])[0, 1]) < 0.3, "long batches come together"


@pytest.mark.parametrize("done", [0, 1, 5, 12, 13])
def test_resumed_is_uninterrupted(done: int) -> None:
    whole = loader()
    expected = [*whole, *whole]
    stopped = loader()
    list(stopped)
    batches = iter(stopped)
    seen = [next(batches) for _ in range(done)]
    resumed = loader()
    resumed.load_state_dict(stopped.state_dict())
    assert [*seen, *resumed] == expected[13:]
    assert resumed.epoch == 2


@pytest.mark.parametrize("world", [2, 3, 8])
def test_processes_share_every_batch(world: int) -> None:
    alone = list(loader(batch_size=16))
    shared = [list(loader(batch_size=16, rank=rank, world=world)) for rank in range(world)]
    assert {len(batches) for batches in shared} == {len(alone)}
    for batch, *parts in zip(alone, *shared, strict=True):
        assert all(parts)
        assert sorted(chain(*parts)) == sorted(batch)


def test_a_state_may_go_to_another_number_of_processes() -> None:
    alone = loader()
    before = next(iter(alone))
    pair = [loader(rank=rank, world=2) for rank in range(2)]
    for part in pair:
        part.load_state_dict(alone.state_dict())
    rest = chain(*(chain(*part) for part in pair))
    assert sorted([*before, *rest]) == list(range(97))


def test_a_state_of_other_data_is_refused() -> None:
    state = loader().state_dict()
    for other in (loader(rows=96), loader(batch_size=7), loader(seed=3), loader(longer=1)):
        with pytest.raises(DataError, match="the saved state has"):
            other.load_state_dict(state)


def test_workers_that_read_ahead_change_nothing() -> None:
    ahead = loader(workers=1)
    batches = iter(ahead)
    seen = [next(batches) for _ in range(3)]
    resumed = loader()
    resumed.load_state_dict(ahead.state_dict())
    assert [*seen, *resumed] == list(loader())


def test_the_chance_of_others_is_left_alone() -> None:
    before = torch.get_rng_state()
    list(loader())
    assert torch.equal(torch.get_rng_state(), before)


def test_what_a_worker_met_is_told_in_a_line() -> None:
    told = "Caught ModelError in worker.\nTraceback:\nlightseek.errors.ModelError: lines are broken"
    with pytest.raises(ModelError, match=r"^lines are broken$"), faults_of_workers():
        raise ModelError(told)


def test_too_few_rows() -> None:
    with pytest.raises(DataError, match="0 rows in batches of 8 cannot be shared by 1 process:"):
        loader(rows=0)
    with pytest.raises(DataError, match="by 4 processes: give more rows"):
        loader(rows=5, batch_size=4, world=4)
