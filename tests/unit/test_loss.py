import copy
import math
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path
from textwrap import dedent

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from lightseek.config import ModelConfig
from lightseek.model import LightSeekOCR
from lightseek.train import batch as batch_module
from lightseek.train.batch import IGNORED, Batch
from lightseek.train.loss import GlyphHeads, Losses, Part, TrainedModel, score, weigh
from lightseek.train.measure import step_flops, useful_work
from lightseek.train.recipe import LossRecipe

ROOT = Path(__file__).parents[2]
WEIGHTS = LossRecipe(glyphs=0.3, places=0.2)


def make_batch(count: int = 4, *, width: int = 256, length: int = 16) -> Batch:
    """Noise with answers for all tokens but the last ones of each strip."""
    torch.manual_seed(1)
    ids = torch.randint(4, 224, (count, length))
    targets = torch.randint(4, 224, (count, length))
    for row in range(count):
        targets[row, length - 2 * row - 1 :] = IGNORED
    glyphs = torch.randint(0, 224, (count, 8, width // 4))
    glyphs[torch.rand(glyphs.shape) < 0.7] = IGNORED
    return Batch(
        views=torch.rand(count, 1, 64, width) * 2 - 1,
        ids=ids,
        targets=targets,
        at_x=torch.randint(0, 129, (count, length)),
        at_y=torch.randint(0, 17, (count, length)),
        to_x=torch.randint(0, 128, (count, length)),
        to_y=torch.randint(0, 16, (count, length)),
        glyphs=glyphs,
        first_col=2,
    )


def part_of(batch: Batch, rows: slice) -> Batch:
    values = {field.name: getattr(batch, field.name) for field in fields(batch)}
    return replace(batch, **{k: v[rows] for k, v in values.items() if isinstance(v, Tensor)})


@pytest.fixture
def trained(tiny_model: LightSeekOCR) -> TrainedModel:
    torch.manual_seed(0)
    trained = TrainedModel(copy.deepcopy(tiny_model))
    assert trained.glyphs is not None
    for head in (trained.glyphs.patch_head, trained.glyphs.token_head):
        torch.nn.init.normal_(head.weight, std=0.1)
    return trained


def counts_of(*losses: Losses) -> Tensor:
    return torch.stack([torch.stack([part.asked for part in one]) for one in losses]).sum(0)


def mean(part: Part) -> float:
    return (part.total / part.asked).item()


def gradients(trained: TrainedModel, batch: Batch, counts: Tensor) -> dict[str, Tensor]:
    trained.zero_grad()
    weigh(trained(batch, glyphs_only=False), counts, WEIGHTS).backward()
    return {n: p.grad.clone() for n, p in trained.named_parameters() if p.grad is not None}


def test_each_part_asks_what_the_batch_says(trained: TrainedModel) -> None:
    batch = make_batch()
    losses = trained(batch, glyphs_only=False)
    cells = (batch.glyphs != IGNORED).sum()
    tokens = (batch.targets != IGNORED).sum()
    assert [int(part.asked) for part in losses] == [tokens, tokens, cells, cells]


def test_short_texts_learn_what_they_do_beside_the_padding_of_long_ones(
    trained: TrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = make_batch(6, length=48)
    batch.targets[0, 5:] = batch.targets[3, 20:] = IGNORED
    found = []
    for parts in (1, 3, 7):
        monkeypatch.setattr(batch_module, "PARTS", parts)
        found.append(gradients(trained, batch, torch.full((4,), 50.0)))
    for others in found[1:]:
        assert others.keys() == found[0].keys()
        for name in others:
            torch.testing.assert_close(others[name], found[0][name], msg=name)


def test_ignored_targets_do_not_matter(trained: TrainedModel) -> None:
    batch = make_batch()
    ignored = batch.targets == IGNORED
    changed = replace(
        batch,
        to_x=torch.where(ignored, 5, batch.to_x),
        to_y=torch.where(ignored, 5, batch.to_y),
        # text after the last answer is padding, which nothing before it sees
        ids=torch.where(ignored, 99, batch.ids),
        at_x=torch.where(ignored, 7, batch.at_x),
    )
    counts = torch.full((4,), 50.0)
    one, other = (gradients(trained, b, counts) for b in (batch, changed))
    for name in one:
        torch.testing.assert_close(one[name], other[name], msg=name)


def test_answers_that_count_do_matter(trained: TrainedModel) -> None:
    batch = make_batch()
    answers = {"targets": 0, "to_x": 1, "glyphs": 2}
    plain = trained(batch, glyphs_only=False)
    for name, index in answers.items():
        value = getattr(batch, name)
        other = torch.where(value == IGNORED, IGNORED, (value + 1) % 128)
        changed = trained(replace(batch, **{name: other}), glyphs_only=False)
        assert not torch.allclose(changed[index].total, plain[index].total)
        assert torch.equal(changed[index].asked, plain[index].asked)


def test_a_batch_without_a_single_answer_moves_nothing(trained: TrainedModel) -> None:
    batch = make_batch()
    empty = replace(
        batch,
        targets=torch.full_like(batch.targets, IGNORED),
        glyphs=torch.full_like(batch.glyphs, IGNORED),
    )
    found = gradients(trained, empty, torch.zeros(4))
    assert all(not gradient.any() for gradient in found.values())


def test_glyph_heads_start_silent(tiny_model: LightSeekOCR) -> None:
    trained = TrainedModel(copy.deepcopy(tiny_model))
    batch = make_batch()
    losses = trained(batch, glyphs_only=True)
    for part in (losses.patch_glyphs, losses.token_glyphs):
        assert mean(part) == pytest.approx(math.log(224))
    weigh(losses, counts_of(losses), WEIGHTS).backward()
    assert not any(p.grad is not None and p.grad.any() for p in trained.model.parameters())
    assert trained.glyphs.patch_head.weight.grad is not None
    assert trained.glyphs.patch_head.weight.grad.any()


def test_glyphs_only_leaves_text_and_places_out(trained: TrainedModel) -> None:
    batch = make_batch()
    full = trained(batch, glyphs_only=False)
    glyphs = trained(batch, glyphs_only=True)
    assert all(not value for part in glyphs[:2] for value in part)
    for index in (2, 3):
        torch.testing.assert_close(glyphs[index], full[index])
    weigh(glyphs, counts_of(glyphs), WEIGHTS).backward()
    assert all(p.grad is None for p in trained.model.decoder.parameters())
    assert all(p.grad is not None for p in trained.model.encoder.sam.parameters())


def test_without_glyph_maps_and_places_the_text_is_all_that_is_asked(
    tiny_config: ModelConfig,
) -> None:
    torch.manual_seed(0)
    decoder = replace(tiny_config.decoder, place=None)
    model = LightSeekOCR(replace(tiny_config, decoder=decoder))
    trained = TrainedModel(model, glyph_maps=False)
    batch = make_batch()
    losses = trained(batch, glyphs_only=False)
    asked = counts_of(losses)
    assert asked.tolist() == [(batch.targets != IGNORED).sum(), 0, 0, 0]
    loss = weigh(losses, asked, LossRecipe(glyphs=0.0, places=0.0))
    assert loss.item() == pytest.approx(mean(losses.text))
    loss.backward()
    assert all(p.grad is not None for p in trained.parameters())


def test_halves_weighed_with_counts_of_the_whole_have_its_gradient(trained: TrainedModel) -> None:
    batch = make_batch()
    halves = [part_of(batch, slice(0, 3)), part_of(batch, slice(3, 4))]
    counts = counts_of(trained(batch, glyphs_only=False))
    torch.testing.assert_close(
        counts, counts_of(*(trained(half, glyphs_only=False) for half in halves))
    )
    whole = gradients(trained, batch, counts)
    shares = [gradients(trained, half, counts) for half in halves]
    for name, gradient in whole.items():
        torch.testing.assert_close(
            shares[0][name] + shares[1][name], gradient, atol=1e-6, rtol=1e-4, msg=name
        )


def test_weights_are_those_of_the_recipe(trained: TrainedModel) -> None:
    losses = trained(make_batch(), glyphs_only=False)
    counts = counts_of(losses)
    text, places, patch, token = map(mean, losses)
    weighed = weigh(losses, counts, LossRecipe(glyphs=3.0, places=2.0)).item()
    assert weighed == pytest.approx(text + 2 * places + 3 * (patch + token))


def test_score_counts_right_answers() -> None:
    scores = torch.tensor([[9.0, 0, 0], [0, 9.0, 0], [0, 0, 9.0]])
    part = score(scores, torch.tensor([0, 1, 1]))
    assert (int(part.hits), int(part.asked)) == (2, 3)
    assert part.total.item() == pytest.approx(9, abs=0.01)


def test_glyph_heads_look_where_the_cell_is() -> None:
    """A token that says which cells are inked is scored cell by cell, in the order of the map."""
    heads = GlyphHeads(local_dim=8, fused_dim=128, vocabulary=2)
    with torch.no_grad():
        heads.patch_head.weight.view(8, 2, 8)[:, 1] = torch.eye(8) * 9
        heads.token_spread.weight.view(128, 32, 128)[:, 0] = torch.eye(128) * 9
        heads.token_head.weight[1, 0] = 1.0
    torch.manual_seed(0)
    ink = torch.rand(2, 16, 64) < 0.3
    patches = torch.stack(
        [ink[:, i::2, j::4] for i in range(2) for j in range(4)], dim=-1
    )  # (B, H, W, 8)
    tokens = torch.stack([ink[:, i::8, j::16] for i in range(8) for j in range(16)], dim=-1)
    # the middle of what a normed feature takes for no ink and for ink
    for loss, features in ((heads.patches, patches), (heads.tokens, tokens)):
        told = loss(features.float() * 2 - 1, ink.long())
        mixed = loss(features.float().roll(1, dims=-1) * 2 - 1, ink.long())
        assert told.hits / told.asked > 0.95
        assert mixed.hits / mixed.asked < 0.75


def test_work_grows_with_the_batch_and_shrinks_without_a_decoder(trained: TrainedModel) -> None:
    one, two = (step_flops(trained, make_batch(count), glyphs_only=False) for count in (2, 4))
    assert two == pytest.approx(2 * one, rel=0.05)
    assert step_flops(trained, make_batch(2), glyphs_only=True) < 0.95 * one
    assert all(p.grad is None for p in trained.parameters())


def test_padding_is_no_useful_work(trained: TrainedModel) -> None:
    batch = make_batch(3, length=64)
    for glyphs_only in (False, True):
        work = useful_work(trained, batch, glyphs_only=glyphs_only)
        batch.targets[:, 32:] = 7  # not a token is padding
        full = step_flops(trained, batch, glyphs_only=glyphs_only)
        assert 3 * (work.strip + 64 * work.token) == pytest.approx(
            full, rel=0.01
        )  # asked cells differ
        short = replace(make_batch(3, length=48), targets=torch.full((3, 48), 7))
        less = step_flops(trained, short, glyphs_only=glyphs_only)
        assert 3 * (work.strip + 48 * work.token) == pytest.approx(less, rel=0.02)
        assert (work.token > 0) != glyphs_only


def test_frozen_parts_take_no_work_on_the_way_back(tiny_model: LightSeekOCR) -> None:
    """Forward once; back, once for the inputs and once for the weights of all that learns."""
    batch = make_batch(2)

    def work(*frozen: str) -> float:
        model = copy.deepcopy(tiny_model)
        model.freeze(frozen)
        return step_flops(TrainedModel(model, glyph_maps=False), batch, glyphs_only=False)

    encoder = FlopCounterMode(display=False)
    with encoder, torch.no_grad():
        tiny_model.encoder(batch.views)
    saved = work() - work("encoder")
    assert saved == pytest.approx(2 * encoder.get_total_flops(), rel=0.1)


def test_a_compiled_encoder_learns_the_same() -> None:
    script = """
        from functools import partial
        import torch
        from lightseek.presets import preset
        from lightseek.model import LightSeekOCR
        from lightseek.train.loss import TrainedModel
        from lightseek.train.measure import step_flops
        from tests.unit.test_loss import make_batch

        torch.compile = partial(torch.compile, backend="aot_eager")
        torch.manual_seed(0)
        plain = TrainedModel(LightSeekOCR(preset("nano")))
        compiled = TrainedModel(plain.model, compile_encoder=True)
        compiled.glyphs = plain.glyphs
        batch, gradients = make_batch(2), []
        flops = step_flops(compiled, batch, glyphs_only=False)
        assert flops == step_flops(plain, batch, glyphs_only=False)
        for trained in (plain, compiled):
            trained.zero_grad()
            sum(part.total for part in trained(batch, glyphs_only=False)).backward()
            gradients.append(plain.model.encoder.sam.positions.cells.grad.clone())
        torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-5)
        assert compiled.encode != plain.encode
    """
    # by itself, for the checks of shapes break graphs
    command = [sys.executable, "-c", dedent(script)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
