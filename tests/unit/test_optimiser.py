import copy

import pytest
import torch
from torch import Tensor, nn

from lightseek.errors import LightSeekError, ModelError, UsageError
from lightseek.model import LightSeekOCR
from lightseek.train.loss import TrainedModel
from lightseek.train.optimiser import (
    MUON_COST,
    Muon,
    SharedOptimiser,
    muon_names,
    orthogonalise,
    share_out,
)
from lightseek.train.recipe import OptimiserRecipe, Recipe


@pytest.fixture
def recipe(tiny_recipe: Recipe) -> OptimiserRecipe:
    return tiny_recipe.optimiser


@pytest.fixture
def trained(tiny_model: LightSeekOCR) -> TrainedModel:
    torch.manual_seed(0)
    return TrainedModel(copy.deepcopy(tiny_model)).to(torch.bfloat16)


def shared(
    trained: TrainedModel, recipe: OptimiserRecipe, *, rank: int = 0, world: int = 1
) -> SharedOptimiser:
    return SharedOptimiser(trained, recipe, rank=rank, world=world)


def step(optimiser: SharedOptimiser, seed: int, share: float = 1.0) -> float:
    """A step along noise."""
    noise = torch.Generator().manual_seed(seed)
    optimiser.gradients.copy_(torch.randn(optimiser.gradients.shape, generator=noise) * 1e-3)
    return optimiser.step(share)


def weights(trained: TrainedModel) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in trained.named_parameters()}


def moved(
    p: nn.Parameter,
    gradient: Tensor,
    *,
    decay: float = 0.0,
    steps: int = 1,
    fused: bool = False,
) -> Tensor:
    muon = Muon([], [p], rate=0.1, decay=decay) if fused else Muon([p], rate=0.1, decay=decay)
    for _ in range(steps):
        p.grad = gradient.clone()
        muon.step()
    return p.detach()


def of_spectrum(rows: int, cols: int, values: Tensor) -> Tensor:
    left = torch.linalg.qr(torch.randn(rows, len(values)))[0]
    right = torch.linalg.qr(torch.randn(cols, len(values)))[0]
    return left * values @ right.T


@pytest.mark.parametrize(("rows", "cols"), [(48, 48), (48, 160), (160, 48)])
@pytest.mark.parametrize("size", [1e-6, 1.0, 1e4])
def test_singular_values_come_near_one(rows: int, cols: int, size: float) -> None:
    torch.manual_seed(0)
    values = torch.logspace(0, -1, 48)  # the smallest are above a hundredth of the norm
    matrix = of_spectrum(rows, cols, values) * size
    result = orthogonalise(matrix)
    found = torch.linalg.svdvals(result)
    assert result.shape == matrix.shape
    assert found.min() > 0.7
    assert found.max() < 1.3
    # the same directions: with its own singular vectors, what is left is a positive diagonal
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    core = u.T @ result @ v.T
    assert (core - core.diag().diag()).abs().max() < 0.06
    assert core.diag().min() > 0.7


def test_no_gradient_gives_no_direction() -> None:
    assert not orthogonalise(torch.zeros(4, 6)).any()


def test_query_key_and_value_are_three_matrices() -> None:
    torch.manual_seed(0)
    # side by side as one matrix, the large one would drown the others
    gradient = torch.cat([torch.randn(16, 16) * size for size in (1.0, 1e-2, 1e-4)])
    fused = moved(nn.Parameter(torch.zeros(48, 16)), gradient, fused=True)
    apart = [moved(nn.Parameter(torch.zeros(16, 16)), part) for part in gradient.chunk(3)]
    assert torch.equal(fused, torch.cat(apart))
    alone = moved(nn.Parameter(torch.zeros(48, 16)), gradient)
    assert alone[32:].norm() < 0.3 * fused[32:].norm(), "a matrix of that shape stays one"


def test_only_those_side_by_side_are_parted(trained: TrainedModel, recipe: OptimiserRecipe) -> None:
    optimiser = shared(trained, recipe)
    whole, parted = (group["params"] for group in optimiser.muon.param_groups)
    of = {id(master): name for name, master in optimiser.masters.items()}
    assert {of[id(p)] for p in parted} == {n for n in optimiser.of_muon if ".qkv." in n}
    assert len(whole) + len(parted) == len(optimiser.of_muon)
    assert all(rows == 3 * cols for rows, cols in (p.shape for p in parted))


def test_nothing_that_learns_is_said(trained: TrainedModel, recipe: OptimiserRecipe) -> None:
    trained.requires_grad_(False)
    with pytest.raises(UsageError, match="every part is frozen"):
        shared(trained, recipe)


def test_a_convolution_is_the_matrix_of_its_kernel() -> None:
    torch.manual_seed(0)
    gradient = torch.randn(8, 4, 3, 3)
    kernel = moved(nn.Parameter(torch.zeros(8, 4, 3, 3)), gradient)
    matrix = moved(nn.Parameter(torch.zeros(8, 36)), gradient.flatten(1))
    assert torch.equal(kernel.flatten(1), matrix)


def test_muon_steps_against_the_gradient_by_the_size_of_the_matrix() -> None:
    torch.manual_seed(0)
    gradient = torch.randn(32, 100)
    change = moved(nn.Parameter(torch.zeros(32, 100)), gradient)
    assert (change * gradient).sum() < 0
    spectrum = torch.linalg.svdvals(change) / (0.1 * 0.2 * 100**0.5)
    assert spectrum.min() > 0.36
    assert spectrum.max() < 1.27
    assert torch.equal(moved(nn.Parameter(torch.zeros(32, 100)), gradient * 128), change)


def test_muon_goes_on_in_the_direction_it_has() -> None:
    torch.manual_seed(0)
    p = nn.Parameter(torch.zeros(8, 8))
    muon = Muon([p], rate=0.1, decay=0.0)
    first, second = torch.eye(8), torch.randn(8, 8) * 1e-3
    for gradient in (first, first, second):
        before = p.detach().clone()
        p.grad = gradient
        muon.step()
    assert ((p.detach() - before).diag() < 0).all()


def test_decay_shrinks_what_the_gradient_leaves_alone() -> None:
    shrunk = moved(nn.Parameter(torch.ones(4, 4)), torch.zeros(4, 4), decay=0.5, steps=2)
    torch.testing.assert_close(shrunk, torch.full((4, 4), 0.95**2))


def test_muon_takes_inner_matrices_and_kernels(trained: TrainedModel) -> None:
    names = muon_names(trained)
    assert {
        "model.encoder.sam.stem.3.weight",
        "model.encoder.sam.blocks.0.attention.qkv.weight",
        "model.encoder.compressor.conv1.weight",
        "model.encoder.clip.blocks.0.mlp.down.weight",
        "model.encoder.projector.linear.weight",
        "model.decoder.layers.0.attention.query.weight",
        "model.decoder.layers.1.feed_forward.up.weight",
    } <= names
    params = dict(trained.named_parameters())
    assert names <= set(params)
    assert all(params[name].ndim in (2, 4) for name in names)
    assert "model.encoder.sam.stem.0.weight" not in names, "the first kernel sees pixels"
    assert not any(name.startswith(("glyphs.", "model.embedding", "model.place")) for name in names)


@pytest.mark.parametrize("world", [1, 2, 3])
def test_work_is_shared_out_evenly_and_completely(trained: TrainedModel, world: int) -> None:
    params = dict(trained.named_parameters())
    muon = muon_names(trained)
    owners = share_out(params, muon, world)
    assert set(owners) == set(params)
    assert set(owners.values()) == set(range(world))
    work = {n: p.numel() * (MUON_COST if n in muon else 1.0) for n, p in params.items()}
    loads = [sum(work[n] for n in params if owners[n] == rank) for rank in range(world)]
    # nobody has more than a fair share and one parameter
    assert max(loads) - min(loads) <= max(work.values())
    assert share_out(dict(reversed(params.items())), muon, world) == owners


def test_an_even_share_of_even_work() -> None:
    params = {str(i): nn.Parameter(torch.zeros(i + 1, 4)) for i in range(40)}
    owners = share_out(params, set(), 2)
    loads = [sum(p.numel() for n, p in params.items() if owners[n] == rank) for rank in (0, 1)]
    assert abs(loads[0] - loads[1]) <= 4


def test_parameters_keep_their_values_and_become_views(
    trained: TrainedModel, recipe: OptimiserRecipe
) -> None:
    before = weights(trained)
    optimiser = shared(trained, recipe)
    for name, p in trained.named_parameters():
        assert torch.equal(p, before[name])
        assert p.grad is not None
    optimiser.weights.zero_()
    optimiser.gradients.fill_(1.0)
    assert all(not p.any() for p in trained.parameters())
    assert all(p.grad is not None and p.grad.all() for p in trained.parameters())


@pytest.mark.parametrize("world", [2, 3])
def test_every_parameter_has_one_master_in_its_owner_s_span(
    trained: TrainedModel, recipe: OptimiserRecipe, world: int
) -> None:
    masters: dict[str, int] = {}
    for rank in range(world):
        copied = copy.deepcopy(trained)
        optimiser = shared(copied, recipe, rank=rank, world=world)
        assert not masters.keys() & optimiser.masters.keys()
        masters |= dict.fromkeys(optimiser.masters, rank)
        start, stop = optimiser.spans[rank : rank + 2]
        for name, p in copied.named_parameters():
            at = p.storage_offset()
            assert (start <= at and at + p.numel() <= stop) == (name in optimiser.masters)
        assert optimiser.spans[0] == 0
        assert optimiser.spans[-1] == optimiser.weights.numel()
    assert set(masters) == set(dict(trained.named_parameters()))


def test_masters_keep_what_bfloat16_loses(trained: TrainedModel, recipe: OptimiserRecipe) -> None:
    optimiser = shared(trained, recipe)
    before = {name: master.detach().clone() for name, master in optimiser.masters.items()}
    assert {master.dtype for master in before.values()} == {torch.float32}
    step(optimiser, 0, share=1e-4)
    still = [name for name, p in trained.named_parameters() if torch.equal(p, before[name])]
    assert still, "so small a step is lost on some weights"
    assert all(not torch.equal(optimiser.masters[name], before[name]) for name in still)


def test_a_step_moves_publishes_and_clears(trained: TrainedModel, recipe: OptimiserRecipe) -> None:
    optimiser = shared(trained, recipe)
    before = weights(trained)
    norm = step(optimiser, 0)
    assert norm == pytest.approx(1e-3 * optimiser.weights.numel() ** 0.5, rel=0.05)
    assert not optimiser.gradients.any()
    for name, p in trained.named_parameters():
        assert not torch.equal(p, before[name]), name
        assert torch.equal(p, optimiser.masters[name].bfloat16()), name


def test_no_rate_no_move(trained: TrainedModel, recipe: OptimiserRecipe) -> None:
    optimiser = shared(trained, recipe)
    before = weights(trained)
    step(optimiser, 0, share=0.0)
    assert all(torch.equal(p, before[name]) for name, p in trained.named_parameters())


def test_gradients_are_clipped_to_the_norm_of_the_recipe(
    trained: TrainedModel, recipe: OptimiserRecipe
) -> None:
    optimiser = shared(trained, recipe)
    optimiser.gradients.fill_(1.0)
    assert optimiser.step(1.0) == pytest.approx(optimiser.weights.numel() ** 0.5, rel=0.01)
    total = sum(
        float(m.grad.square().sum()) for m in optimiser.masters.values() if m.grad is not None
    )
    assert total**0.5 == pytest.approx(recipe.clip_norm, rel=0.01)


@pytest.mark.parametrize("world", [1, 2])
def test_state_of_any_number_of_processes_resumes_exactly(
    trained: TrainedModel, recipe: OptimiserRecipe, world: int
) -> None:
    fresh = copy.deepcopy(trained)
    optimiser = shared(trained, recipe)
    for seed in range(3):
        step(optimiser, seed)
    saved = {name: value.clone() for name, value in optimiser.state().items()}
    if world == 2:  # as two processes would have saved it
        owners = share_out(dict(fresh.named_parameters()), muon_names(fresh), 2)
        parts = [
            {key: v for key, v in saved.items() if owners[key.rpartition("/")[0]] == rank}
            for rank in (1, 0)
        ]
        saved = parts[0] | parts[1]
    resumed = shared(fresh, recipe)
    resumed.load_state(saved)
    assert all(torch.equal(p, weights(trained)[n]) for n, p in fresh.named_parameters())
    step(optimiser, 9)
    step(resumed, 9)
    for key, value in optimiser.state().items():
        assert torch.equal(resumed.state()[key], value), key


def test_a_loaded_state_is_a_copy(trained: TrainedModel, recipe: OptimiserRecipe) -> None:
    fresh = copy.deepcopy(trained)
    optimiser = shared(trained, recipe)
    step(optimiser, 0)
    saved = optimiser.state()
    resumed = shared(fresh, recipe)
    resumed.load_state(saved)
    kept = {key: value.clone() for key, value in saved.items()}
    step(resumed, 1)
    assert all(torch.equal(saved[key], value) for key, value in kept.items())


def test_state_of_another_model_is_refused(trained: TrainedModel, recipe: OptimiserRecipe) -> None:
    optimiser = shared(trained, recipe)
    saved = optimiser.state()
    name = "model.encoder.projector.linear.weight"
    lacking = {key: value for key, value in saved.items() if not key.startswith(name)}
    with pytest.raises(ModelError, match=f"missing: {name}"):
        optimiser.load_state(lacking)
    with pytest.raises(ModelError, match=f"misshapen: {name}"):
        optimiser.load_state(saved | {f"{name}/master": torch.zeros(3, 3)})


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_gradient_that_is_no_number_moves_nothing(
    trained: TrainedModel, recipe: OptimiserRecipe, bad: float
) -> None:
    optimiser = shared(trained, recipe)
    before = weights(trained)
    optimiser.gradients[7] = bad
    with pytest.raises(LightSeekError, match="the gradient became"):
        optimiser.step(1.0)
    assert all(torch.equal(p, before[name]) for name, p in trained.named_parameters())
