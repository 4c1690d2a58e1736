import resource
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn

from lightseek.data.dataset import load_pairs
from lightseek.data.loader import BatchLoader
from lightseek.errors import DataError, UsageError
from lightseek.model import LightSeekOCR
from lightseek.tokenizer import Tokenizer
from lightseek.train import features as features_module
from lightseek.train.features import (
    CachedPairs,
    FeatureKey,
    Features,
    build_features,
    hash_encoder,
    hash_saved_encoder,
)
from lightseek.weights import load_model, save_model

ROWS = 11
KEY = FeatureKey(encoder="e" * 64, preprocessing="as is", data="d" * 64, names=("rows",), rows=ROWS)


class Seen(NamedTuple):
    rows: Tensor
    """One a row of pixels."""
    mean: Tensor
    nothing: None = None


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))
        self.views = 0

    def forward(self, views: Float[Tensor, "V C Y X"]) -> Seen:
        self.views += len(views)
        return Seen(views.sum((1, 3)) * self.scale, views.mean((1, 2, 3)))


@dataclass
class Copy:
    views: Tensor


class Whole(Encoder):
    def forward(self, views: Float[Tensor, "V C Y X"]) -> Copy:
        return Copy(views)


class Strips:
    """Views of two widths, the later ones wider."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.stop_at = stop_at

    def __len__(self) -> int:
        return ROWS

    def __getitem__(self, index: int) -> Tensor:
        if index == self.stop_at:
            raise KeyboardInterrupt
        generator = torch.Generator().manual_seed(index)
        return torch.randn(1, 4, 32 if index < 6 else 64, generator=generator)


def build(folder: Path, encoder: nn.Module | None = None, stop_at: int | None = None) -> Features:
    return build_features(
        folder, encoder or Encoder(), Strips(stop_at), KEY, batch_size=2, shard_rows=4
    )


def assert_right(features: Features) -> None:
    assert len(features) == ROWS
    for i in (*range(ROWS), 3):
        expected = Encoder()(Strips()[i][None]).rows[0].detach()
        found = features[i]["rows"]
        assert (found.dtype, found.shape) == (torch.float16, (4,))
        torch.testing.assert_close(found.float(), expected, rtol=1e-3, atol=1e-2)
    with pytest.raises(IndexError):
        features[ROWS]


def test_features_are_what_the_encoder_returns(tmp_path: Path) -> None:
    assert_right(build(tmp_path / "cache"))
    assert_right(Features(tmp_path / "cache", KEY))


def test_no_more_than_a_batch_of_views_is_in_memory(tmp_path: Path) -> None:
    given: list[weakref.ref[Tensor]] = []
    alive: list[int] = []

    class Watched(Strips):
        def __getitem__(self, index: int) -> Tensor:
            alive.append(sum(view() is not None for view in given))
            view = super().__getitem__(index)
            given.append(weakref.ref(view))
            return view

    told: list[int] = []
    build_features(
        tmp_path, Encoder(), Watched(), KEY, batch_size=2, shard_rows=8, on_row=told.append
    )
    assert max(alive) <= 4, "a batch, and the one that was made of it"
    assert told == [2, 4, 6, 8, 8, 10, 11, 11], "batch by batch, and at the end of a shard"


def test_a_killed_run_goes_on_where_it_was(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path, stop_at=9)
    with pytest.raises(DataError, match="lacks 1 shards: build the features to their end"):
        Features(tmp_path, KEY)
    (tmp_path / "shard-00002.safetensors.unfinished").write_bytes(b"half a shard")
    encoder = Encoder()
    assert_right(build(tmp_path, encoder))
    assert encoder.views == 3, "what is there is not computed again"


def test_a_broken_shard_is_named_and_made_anew(tmp_path: Path) -> None:
    features = build(tmp_path)
    shard = tmp_path / "shard-00001.safetensors"
    shard.write_bytes(shard.read_bytes()[:-8])
    with pytest.raises(DataError, match=r"shard-00001\.safetensors is broken"):
        features[5]
    encoder = Encoder()
    assert_right(build(tmp_path, encoder))
    assert encoder.views == 4


def test_what_is_whole_is_read_where_nothing_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(tmp_path)

    def refuse(path: Path) -> None:
        raise PermissionError(path)

    monkeypatch.setattr(features_module, "FileLock", refuse)
    assert_right(build(tmp_path))


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_the_shards_that_are_whole(tmp_path: Path) -> None:
    key = replace(KEY, names=("views",))

    with (
        files_of_at_most(1600),
        pytest.raises(DataError, match="4 of 11 rows are kept: make room and start again"),
    ):
        build_features(tmp_path, Whole(), Strips(), key, shard_rows=4)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "features.json",
        "lock",
        "shard-00000.safetensors",
    ]
    features = build_features(tmp_path, Whole(), Strips(), key, shard_rows=4)
    assert features[10]["views"].shape == (1, 4, 64)


def test_stale_features_are_refused(tmp_path: Path) -> None:
    build(tmp_path)
    for change, words in (
        (replace(KEY, encoder="f" * 64), "of other encoder: eeeeeeeeeeee..., not ffffffffffff..."),
        (replace(KEY, preprocessing="inverted"), "of other preprocessing: as is, not inverted"),
        (replace(KEY, data="c" * 64), "of other data"),
        (replace(KEY, names=("mean", "rows")), "of other names: rows, not mean, rows"),
    ):
        with pytest.raises(DataError, match=words):
            Features(tmp_path, change)
        with pytest.raises(DataError, match="delete it or give another folder"):
            build_features(tmp_path, Encoder(), Strips(), change)


def test_bad_caches(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no features: build them first"):
        Features(tmp_path, KEY)
    (tmp_path / "features.json").write_text("{}")
    with pytest.raises(DataError, match=r"features\.json is broken"):
        Features(tmp_path, KEY)


def test_what_the_encoder_does_not_return(tmp_path: Path) -> None:
    key = replace(KEY, names=("nothing",))
    with pytest.raises(UsageError, match="returns no nothing: choose of rows, mean"):
        build_features(tmp_path, Encoder(), Strips(), key)


def test_what_float16_cannot_hold(tmp_path: Path) -> None:
    encoder = Encoder()
    nn.init.constant_(encoder.scale, 1e9)
    with pytest.raises(DataError, match="rows of rows 0 to 4 overflows float16"):
        build(tmp_path, encoder)


def test_the_hash_follows_weights_and_sizes_of_the_encoder_alone(
    tiny_model: LightSeekOCR, tiny_tokenizer: Tokenizer, tmp_path: Path
) -> None:
    def hash_of(model: LightSeekOCR) -> str:
        return hash_encoder(model.config, model.encoder.state_dict().items())

    saved = LightSeekOCR(tiny_model.config)
    saved.load_state_dict(
        {name: tensor.bfloat16().float() for name, tensor in tiny_model.state_dict().items()}
    )
    save_model(tmp_path, saved, tiny_tokenizer)
    first = hash_of(saved)
    assert hash_saved_encoder(tmp_path) == first
    assert hash_of(saved.bfloat16()) == first
    nn.init.zeros_(saved.embedding.weight)
    assert hash_of(saved) == first
    nn.init.zeros_(saved.encoder.projector.linear.bias)
    assert hash_of(saved) != first
    other = replace(saved.config, sam=replace(saved.config.sam, activation="gelu"))
    tensors = [*saved.encoder.state_dict().items()]
    assert hash_encoder(other, tensors) != hash_encoder(saved.config, tensors)


def test_the_hash_of_a_published_model(official_folder: Path) -> None:
    where, what = torch.device("cpu"), torch.float32
    model, _ = load_model(official_folder, device=where, dtype=what)
    loaded = hash_encoder(model.config, model.encoder.state_dict().items())
    assert hash_saved_encoder(official_folder) == loaded


def test_training_reads_features_and_text(tmp_path: Path, tiny_model: LightSeekOCR) -> None:
    for i in range(ROWS):
        Image.new("L", (256, 64), 20 * i).save(tmp_path / f"{i:02}.png")
        (tmp_path / f"{i:02}.txt").write_text(f"page {i}")
    pairs = load_pairs(tmp_path)

    class Views:
        def __len__(self) -> int:
            return len(pairs)

        def __getitem__(self, index: int) -> Tensor:
            grey = torch.tensor(list(pairs[index].image.convert("L").tobytes()))
            return grey.view(1, 64, 256).float() / 127.5 - 1

    names = ("local", "tokens")
    key = replace(KEY, names=names, data=pairs.fingerprint)
    features = build_features(tmp_path / "cache", tiny_model.encoder, Views(), key)
    with torch.inference_mode():
        encoded = tiny_model.encoder(Views()[4][None])
    for name in names:
        expected = getattr(encoded, name)[0]
        torch.testing.assert_close(features[4][name].float(), expected, rtol=1e-2, atol=1e-2)
    rows = CachedPairs(features, pairs)
    batches = BatchLoader(rows, batch_size=4, collate=list)
    seen = {row.text for batch in batches for row in batch}
    assert seen == {f"page {i}" for i in range(ROWS)}
