import subprocess
import sys
from copy import deepcopy
from dataclasses import replace
from textwrap import dedent

import pytest
import torch
from torch import Tensor, nn

from lightseek import relative
from lightseek.config import ModelConfig, Rows
from lightseek.encoder import (
    Attention,
    ClipEncoder,
    ConvCompressor,
    DeepEncoder,
    PositionTable,
    SamBlock,
    SamEncoder,
)
from lightseek.model import LightSeekOCR
from lightseek.relative import relative_table


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def shuffle(module: nn.Module) -> nn.Module:
    """Random values where a fresh module has zeros."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return module.eval()


@torch.inference_mode()
def test_official_numbers(tiny_official_config: ModelConfig) -> None:
    encoder = DeepEncoder(tiny_official_config)
    encoded = encoder(torch.zeros(1, 3, 1024, 1024))
    config = tiny_official_config
    assert encoded.local.shape == (1, 64, 64, config.sam.dim)
    assert encoded.fused.shape == (1, 16, 16, config.clip.dim + config.compressor.dim)
    assert encoded.tokens.shape == (1, 16, 16, config.decoder.dim)


@pytest.mark.parametrize("side", [512, 640])
@torch.inference_mode()
def test_official_views_may_have_any_size(tiny_official_model: LightSeekOCR, side: int) -> None:
    tokens = tiny_official_model.encoder(torch.zeros(2, 3, side, side)).tokens
    assert tokens.shape[:3] == (2, side // 64, side // 64)


@pytest.mark.parametrize(("height", "width"), [(64, 256), (64, 512), (64, 1024), (128, 1024)])
@torch.inference_mode()
def test_nano_numbers(tiny_model: LightSeekOCR, height: int, width: int) -> None:
    encoded = tiny_model.encoder(torch.zeros(2, 1, height, width))
    assert encoded.local.shape[:3] == (2, height // 16, width // 16)
    assert encoded.tokens.shape[:3] == (2, height // 64, width // 64)


@torch.inference_mode()
def test_views_of_a_batch_do_not_touch(
    tiny_model: LightSeekOCR, tiny_official_model: LightSeekOCR
) -> None:
    for model in (tiny_model, tiny_official_model):
        views = torch.randn(3, model.config.sam.channels, 64, 128)
        together = model.encoder(views).tokens
        alone = torch.cat([model.encoder(view[None]).tokens for view in views])
        torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_clip_features_come_first(tiny_official_model: LightSeekOCR) -> None:
    encoder = tiny_official_model.encoder
    with torch.inference_mode():
        views = torch.randn(1, 3, 64, 128)
        compressed = encoder.compressor(encoder.sam(views)[1])
        fused = encoder(views).fused
        dim = tiny_official_model.config.clip.dim
        torch.testing.assert_close(fused[..., :dim], encoder.clip(compressed))
        torch.testing.assert_close(fused[..., dim:], compressed)


def slow_attention(module: Attention, x: Tensor, size: Rows) -> Tensor:
    """Softmax of scaled products plus the distance terms of ViTDet, pair by pair."""
    count, dim = x.shape
    head_dim = dim // module.heads
    query, key, value = (module.qkv.weight @ x.T).T.add(module.qkv.bias).chunk(3, dim=-1)
    mixed = torch.zeros(count, dim)
    for head in range(module.heads):
        part = slice(head * head_dim, (head + 1) * head_dim)
        scores = torch.zeros(count, count)
        for i in range(count):
            for j in range(count):
                score = query[i, part] @ key[j, part] / head_dim**0.5
                if module.relative_rows is not None and module.relative_cols is not None:
                    down = i // size.cols - j // size.cols + size.rows - 1
                    across = i % size.cols - j % size.cols + size.cols - 1
                    score = score + query[i, part] @ module.relative_rows[down]
                    score = score + query[i, part] @ module.relative_cols[across]
                scores[i, j] = score
        mixed[:, part] = scores.softmax(-1) @ value[:, part]
    return module.out(mixed)


@pytest.mark.parametrize("relative", [True, False])
@torch.inference_mode()
def test_attention_against_the_definition(relative: bool) -> None:
    size = Rows(rows=3, cols=4)
    module = Attention(8, 2, size if relative else None)
    shuffle(module)
    x = torch.randn(1, 12, 8)
    expected = slow_attention(module, x[0], size)
    torch.testing.assert_close(module(x, size)[0], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("room", [1, 70, 200, 500])
def test_attention_in_pieces_is_the_same(room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    size = Rows(rows=3, cols=4)
    module = Attention(8, 2, size)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter)
    x = torch.randn(5, 12, 8)
    expected = module(x, size)
    monkeypatch.setattr(relative, "SCORES_ON_CPU", room)
    pieces: list[int] = []
    original = torch.baddbmm

    def count(bias: Tensor, *given: Tensor, alpha: float) -> Tensor:
        pieces.append(bias.numel())
        return original(bias, *given, alpha=alpha)

    monkeypatch.setattr(torch, "baddbmm", count)
    torch.testing.assert_close(module(x, size), expected)
    assert len(pieces) > 1
    assert sum(pieces) == 5 * 2 * 12 * 12
    assert max(pieces) <= max(room, 4 * 12)


@pytest.mark.parametrize("length", [1, 2, 5])
def test_relative_table_against_a_double_loop(length: int) -> None:
    table = torch.randn(2 * length - 1, 3)
    spread = relative_table(table, length)
    assert spread.shape == (length, length, 3)
    for query in range(length):
        for key in range(length):
            assert torch.equal(spread[query, key], table[query - key + length - 1])


def test_a_relative_table_of_another_length_is_interpolated() -> None:
    # linear values stay linear: distances keep their order, and the ends of the scale
    table = torch.linspace(-1, 1, 2 * 8 - 1)[:, None]
    spread = relative_table(table, 4)[..., 0]
    torch.testing.assert_close(spread, -spread.T)
    by_distance = torch.stack([spread[3, 3 - distance] for distance in range(4)])
    torch.testing.assert_close(by_distance.diff(), by_distance.diff()[0].expand(3))
    assert by_distance[3] > 0.8


def block(config: ModelConfig, window: Rows) -> SamBlock:
    made = SamBlock(replace(config.sam, window=window), spans_view=False)
    shuffle(made)
    return made


def spanning(made: SamBlock) -> SamBlock:
    other = deepcopy(made)
    other.window = None
    return other


@pytest.mark.parametrize("relative", [True, False])
@torch.inference_mode()
def test_a_window_as_large_as_the_map_is_global(tiny_config: ModelConfig, relative: bool) -> None:
    config = replace(tiny_config, sam=replace(tiny_config.sam, relative_position=relative))
    made = block(config, Rows(rows=4, cols=6))
    x = torch.randn(2, 4, 6, config.sam.dim)
    torch.testing.assert_close(made(x), spanning(made)(x))


@torch.inference_mode()
def test_windows_are_islands(tiny_official_config: ModelConfig) -> None:
    made = block(tiny_official_config, Rows(rows=2, cols=3))
    x = torch.randn(1, 4, 9, tiny_official_config.sam.dim)
    whole = made(x)
    for top in (0, 2):
        for left in (0, 3, 6):
            cut = (slice(None), slice(top, top + 2), slice(left, left + 3))
            torch.testing.assert_close(whole[cut], spanning(made)(x[cut]))


@torch.inference_mode()
def test_only_the_last_windows_are_padded(tiny_official_config: ModelConfig) -> None:
    made = block(tiny_official_config, Rows(rows=3, cols=4))
    x = torch.randn(2, 6, 8, tiny_official_config.sam.dim)
    whole = made(x)
    part = made(x[:, :5, :7])
    assert part.shape == (2, 5, 7, tiny_official_config.sam.dim)
    torch.testing.assert_close(part[:, :3, :4], whole[:, :3, :4])
    assert not torch.allclose(part[:, 3:, 4:], whole[:, 3:5, 4:7])
    # what fills them is zero after the norm, as in segment-anything
    inner = nn.functional.pad(made.norm1(x[:, 3:5, 4:7]), (0, 0, 0, 1, 0, 1))
    mixed = made.attention(inner.flatten(1, 2), Rows(rows=3, cols=4)).unflatten(1, (3, 4))
    expected = x[:, 3:5, 4:7] + mixed[:, :2, :3]
    expected = expected + made.mlp(made.norm2(expected))
    torch.testing.assert_close(part[:, 3:, 4:], expected)


def test_a_table_of_the_right_size_is_given_as_it_is() -> None:
    for resize in (True, False):
        table = PositionTable(5, Rows(rows=2, cols=3), resize=resize)
        assert torch.equal(table(2, 3), table.cells)


def test_a_stretched_table_keeps_its_shape_and_mean() -> None:
    table = PositionTable(2, Rows(rows=8, cols=8), resize=True)
    with torch.no_grad():
        table.cells[0, :, :, 0] = 3.0
        table.cells[0, :, :, 1] = torch.arange(8.0)
    for rows, cols in ((4, 4), (16, 16), (8, 12)):
        wanted = table(rows, cols)
        assert wanted.shape == (1, rows, cols, 2)
        torch.testing.assert_close(wanted[..., 0], torch.full((1, rows, cols), 3.0))
        torch.testing.assert_close(wanted[..., 1].mean(), torch.tensor(3.5))
        assert bool((wanted[0, :, 1:, 1] >= wanted[0, :, :-1, 1] - 1e-6).all()), "grows rightwards"
        torch.testing.assert_close(wanted[0, 0], wanted[0, -1])


def test_a_cut_table_gives_the_cells_under_the_view() -> None:
    table = PositionTable(5, Rows(rows=4, cols=9), resize=False)
    assert torch.equal(table(2, 3, first_col=4), table.cells[:, :2, 4:7])
    assert torch.equal(table(4, 5, first_col=4), table(4, 9)[:, :, 4:])


@pytest.mark.parametrize(("rows", "cols", "first_col"), [(5, 1, 0), (1, 10, 0), (1, 5, 5)])
def test_a_view_that_leaves_the_table_is_refused(rows: int, cols: int, first_col: int) -> None:
    table = PositionTable(5, Rows(rows=4, cols=9), resize=False)
    with pytest.raises(ValueError, match="does not fit a 4 x 9 table"):
        table(rows, cols, first_col)


@torch.inference_mode()
def test_too_wide_a_view_is_refused(tiny_model: LightSeekOCR) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        tiny_model.encoder(torch.zeros(1, 1, 64, 1088))
    with pytest.raises(ValueError, match="does not fit"):
        tiny_model.encoder(torch.zeros(1, 1, 64, 512), first_col=9)


@torch.inference_mode()
def test_a_narrow_view_stands_where_that_part_of_a_wide_one_does(tiny_config: ModelConfig) -> None:
    """Without attention a blank view shows positions alone, but for convolutions at its edges."""
    config = replace(
        tiny_config,
        sam=replace(tiny_config.sam, depth=0, global_blocks=()),
        clip=replace(tiny_config.clip, depth=0),
    )
    encoder = DeepEncoder(config).eval()
    wide = encoder(torch.zeros(1, 1, 64, 1024)).tokens
    for first in (0, 3, 10):
        narrow = encoder(torch.zeros(1, 1, 64, 384), first_col=first).tokens
        torch.testing.assert_close(narrow[:, :, 2:4], wide[:, :, first + 2 : first + 4])
        assert not torch.allclose(narrow[:, :, 2:4], wide[:, :, first + 3 : first + 5])


@torch.inference_mode()
def test_positions_matter(tiny_model: LightSeekOCR) -> None:
    view = torch.randn(1, 1, 64, 256)
    at_left = tiny_model.encoder(view).fused
    dim = tiny_model.config.clip.dim
    moved = tiny_model.encoder(view, first_col=5).fused
    assert not torch.allclose(at_left[..., :dim], moved[..., :dim])
    assert not torch.allclose(at_left[..., dim:], moved[..., dim:])


@torch.inference_mode()
def test_the_class_token_is_seen_but_not_returned(tiny_official_config: ModelConfig) -> None:
    clip = ClipEncoder(tiny_official_config.clip)
    shuffle(clip)
    tokens = torch.randn(1, 2, 3, tiny_official_config.clip.dim)
    before = clip(tokens)
    assert before.shape == tokens.shape
    assert clip.class_token is not None
    clip.class_token += torch.randn_like(clip.class_token)
    assert not torch.allclose(clip(tokens), before)


@torch.inference_mode()
def test_a_global_block_looks_across_the_view(tiny_model: LightSeekOCR) -> None:
    """The first block keeps to its window of 8 columns, the last sees the far end."""
    sam = tiny_model.encoder.sam
    x = torch.randn(1, 4, 16, tiny_model.config.sam.dim)
    changed = x.clone()
    changed[:, :, -1] += 1
    first, last = sam.blocks
    assert torch.equal(first(changed)[:, :, :8], first(x)[:, :, :8])
    assert not torch.allclose(last(changed)[:, :, :8], last(x)[:, :, :8])


def test_convolutions_of_both_families(
    tiny_config: ModelConfig, tiny_official_config: ModelConfig
) -> None:
    nano = ConvCompressor(5, tiny_config.compressor, 1e-6)
    official = ConvCompressor(5, tiny_official_config.compressor, 1e-6)
    assert {n for n, _ in official.named_parameters()} == {"conv1.weight", "conv2.weight"}
    assert {"conv1.bias", "between.0.weight"} <= {n for n, _ in nano.named_parameters()}
    for compressor, dim in ((nano, 24), (official, 24)):
        assert compressor(torch.zeros(1, 5, 40, 12)).shape == (1, 10, 3, dim)


def test_the_neck_is_part_of_official_models_alone(
    tiny_config: ModelConfig, tiny_official_config: ModelConfig
) -> None:
    official, nano = SamEncoder(tiny_official_config.sam), SamEncoder(tiny_config.sam)
    assert (official.out_dim, nano.out_dim) == (8, 16)
    with torch.inference_mode():
        local, necked = official(torch.zeros(1, 3, 64, 64))
        assert necked.shape == (1, 8, 4, 4)
        local, same = nano(torch.zeros(1, 1, 64, 64))
        assert torch.equal(same.permute(0, 2, 3, 1), local)


def test_one_compiled_graph_serves_every_column() -> None:
    script = """
        import torch
        from torch._dynamo.testing import CompileCounter
        from lightseek.presets import preset
        from lightseek.encoder import DeepEncoder

        encoder, graphs = DeepEncoder(preset("nano")), CompileCounter()
        compiled = torch.compile(encoder.forward, dynamic=False, backend=graphs)
        views = torch.randn(2, 1, 32, 256)
        with torch.inference_mode():
            for col in (0, 1, 12):
                found, expected = compiled(views, torch.tensor(col)), encoder(views, col)
                torch.testing.assert_close(found.tokens, expected.tokens)
        print(graphs.frame_count)
    """
    # by itself, for the checks of shapes break graphs
    command = [sys.executable, "-c", dedent(script)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"
