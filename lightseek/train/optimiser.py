"""Muon for matrices and convolutions, AdamW for the rest, shared out over processes.

The model computes in bfloat16; a float32 master copy of every parameter is held by the one
process that owns it, which also does that parameter's share of the optimiser's work. Gradients
and new weights travel as one flat tensor each.

Muon: Keller Jordan, "Muon: An optimizer for hidden layers in neural networks" (2024); update
scaled as in Moonlight (arXiv 2502.16982). Three Newton-Schulz iterations bring every singular
value above a hundredth of the norm to 0.72 - 1.27.

Axes: O I rows and columns of a matrix.
"""

import math
from collections.abc import Sequence

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn

from lightseek.errors import LightSeekError, UsageError
from lightseek.lora import is_adapter
from lightseek.shards import check_shapes
from lightseek.train.loss import TrainedModel
from lightseek.train.recipe import OptimiserRecipe

NEWTON_SCHULZ = (
    (8.0934, -23.6204, 17.4462),
    (3.6366, -2.7219, 0.5365),
    (2.6613, -1.9772, 0.4526),
)
"""The polynomials a x + b x^3 + c x^5 that together come closest to 1 on [0.01, 1], each the best
for what the ones before leave (Amsel et al., "The Polar Express", arXiv 2505.16932)."""
_HEADROOM = 1.02
"""The first polynomial leaves its interval quickly beyond 1, where rounding may bring the norm."""
MUON_MOMENTUM = 0.95
ADAMW_BETAS = (0.9, 0.98)
NOTHING_LEARNS = "every part is frozen, and nothing learns: name fewer parts in freeze"
_FUSED = 3
"""Matrices in one that is fused."""
MUON_COST = 1.5
"""Work of a Muon parameter, an AdamW parameter of the same size being 1."""


def orthogonalise(matrix: Float[Tensor, "O I"]) -> Float[Tensor, "O I"]:
    """A matrix of the same row and column space whose singular values are all near 1."""
    wide = matrix.shape[0] <= matrix.shape[1]
    x = (matrix if wide else matrix.T).bfloat16()
    x = x / (_HEADROOM * x.norm() + 1e-7)
    for a, b, c in NEWTON_SCHULZ:
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x if wide else x.T).float()


class Muon(torch.optim.Optimizer):
    """Momentum whose update is made orthogonal.

    Args:
        params: Matrices and convolution kernels.
        fused: Matrices of query, key and value side by side, which are three.
        rate: Learning rate.
        decay: Weight decay, times the rate.
    """

    def __init__(
        self,
        params: list[nn.Parameter],
        fused: Sequence[nn.Parameter] = (),
        *,
        rate: float,
        decay: float,
    ) -> None:
        # a process may own none, and only a group may be empty
        groups = [{"params": params, "parts": 1}, {"params": [*fused], "parts": _FUSED}]
        super().__init__(groups, {"lr": rate, "weight_decay": decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Move every parameter that has a gradient."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state["momentum"] = torch.zeros_like(p)
                momentum = state["momentum"]
                momentum.lerp_(p.grad, 1 - MUON_MOMENTUM)
                direction = p.grad.lerp(momentum, MUON_MOMENTUM).flatten(1)
                parts = direction.chunk(group["parts"])
                update = torch.cat([orthogonalise(part) for part in parts])
                scale = 0.2 * max(parts[0].shape) ** 0.5
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(update.view_as(p), alpha=-group["lr"] * scale)


def muon_names(trained: TrainedModel) -> set[str]:
    """Weights of linear layers and convolutions of encoder and decoder, the first kernel apart.

    Adapters are none of them: to make the small matrices of one orthogonal is to make them large.
    """
    return {
        f"{prefix}.weight"
        for prefix, module in trained.named_modules()
        if prefix.startswith(("model.encoder.", "model.decoder."))
        and (isinstance(module, nn.Linear) or _is_inner_convolution(module))
        and not is_adapter(prefix)
    }


def is_fused(name: str) -> bool:
    """Whether a weight is that of query, key and value side by side, as in the encoder."""
    return name.endswith(".qkv.weight")


def _is_inner_convolution(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d) and module.in_channels > 3


class SharedOptimiser:
    """What learns in one flat tensor, each parameter owned by one process.

    Args:
        trained: The model, already on its device; what learns of it becomes views of the tensor.
        recipe: Rates.
        rank: This process.
        world: Number of processes.
    """

    def __init__(
        self, trained: TrainedModel, recipe: OptimiserRecipe, *, rank: int, world: int
    ) -> None:
        self.recipe, self.rank, self.world = recipe, rank, world
        params = {name: p for name, p in trained.named_parameters() if p.requires_grad}
        self.of_muon = muon_names(trained) & params.keys()
        self.owners = share_out(params, self.of_muon, world)
        # one owner's parameters lie together: new weights travel in one message an owner
        names = sorted(params, key=lambda name: self.owners[name])
        sizes = [params[name].numel() for name in names]
        if not params:
            raise UsageError(NOTHING_LEARNS)
        like = next(iter(params.values()))
        self.weights = like.new_empty(sum(sizes))
        self.gradients = torch.zeros_like(self.weights)
        self.spans = [0] * (world + 1)
        self.masters: dict[str, nn.Parameter] = {}
        self._mine: list[tuple[nn.Parameter, Tensor, Tensor]] = []
        at = 0
        for name, size in zip(names, sizes, strict=True):
            p = params[name]
            flat, gradient = self.weights[at : at + size], self.gradients[at : at + size]
            if self.owners[name] == rank:
                master = nn.Parameter(p.detach().float().clone())
                self.masters[name] = master
                self._mine.append((master, flat, gradient))
            flat.copy_(p.detach().reshape(-1))
            p.data, p.grad = flat.view(p.shape), gradient.view(p.shape)
            at += size
            self.spans[self.owners[name] + 1] = at
        of_muon = {n: m for n, m in self.masters.items() if n in self.of_muon}
        self.muon = Muon(
            [m for n, m in of_muon.items() if not is_fused(n)],
            [m for n, m in of_muon.items() if is_fused(n)],
            rate=recipe.muon_rate,
            decay=recipe.muon_decay,
        )
        self.adamw = torch.optim.AdamW(
            [{"params": [m for n, m in self.masters.items() if n not in self.of_muon]}],
            lr=recipe.adamw_rate,
            betas=ADAMW_BETAS,
            weight_decay=recipe.adamw_decay,
        )

    def step(self, share: float) -> float:
        """Sum gradients over processes, move the weights, and clear the gradients.

        Args:
            share: Part of the full learning rates.

        Returns:
            Norm of the whole gradient.

        Raises:
            LightSeekError: If that is no number, before any weight is moved.
        """
        if self.world > 1:
            dist.all_reduce(self.gradients)
        norm = float(self.gradients.float().norm())
        if not math.isfinite(norm):
            raise LightSeekError(
                f"the gradient became {norm}: the last checkpoint is sound; lower the rates of the "
                "optimiser in another run"
            )
        clip = min(1.0, self.recipe.clip_norm / (norm + 1e-6))
        for master, _, gradient in self._mine:
            master.grad = gradient.float().mul_(clip).view_as(master)
        for group in self.muon.param_groups:
            group["lr"] = self.recipe.muon_rate * share
        self.adamw.param_groups[0]["lr"] = self.recipe.adamw_rate * share
        self.muon.step()
        self.adamw.step()
        self.publish()
        self.gradients.zero_()
        return norm

    @torch.no_grad()
    def publish(self) -> None:
        """Give the other processes the weights that this one owns."""
        for master, flat, _ in self._mine:
            flat.copy_(master.reshape(-1))
        if self.world > 1:
            for owner in range(self.world):
                dist.broadcast(self.weights[self.spans[owner] : self.spans[owner + 1]], src=owner)

    def state(self) -> dict[str, Tensor]:
        """Masters and optimiser state of the parameters that this process owns, by name."""
        tensors: dict[str, Tensor] = {}
        for name, master in self.masters.items():
            tensors[f"{name}/master"] = master.detach()
            for optimiser in (self.muon, self.adamw):
                for key, value in optimiser.state.get(master, {}).items():
                    tensors[f"{name}/{key}"] = value
        return {key: value.contiguous() for key, value in tensors.items()}

    @torch.no_grad()
    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Take back what `state` gave, from any number of processes.

        Raises:
            ModelError: If it is the state of another model.
        """
        saved: dict[str, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            name, _, kind = key.rpartition("/")
            saved.setdefault(name, {})[kind] = value
        wanted = {name: tuple(master.shape) for name, master in self.masters.items()}
        found = {name: tuple(saved[name]["master"].shape) for name in wanted if name in saved}
        check_shapes(wanted, found, source="the checkpoint")
        for name, master in self.masters.items():
            master.copy_(saved[name].pop("master"))
            optimiser = self.muon if name in self.of_muon else self.adamw
            if saved[name]:
                # AdamW's count of steps stays on the CPU
                optimiser.state[master] = {
                    kind: value.clone() if value.ndim == 0 else value.to(master.device, copy=True)
                    for kind, value in saved[name].items()
                }
        self.publish()


def share_out(params: dict[str, nn.Parameter], muon: set[str], world: int) -> dict[str, int]:
    """An owner for every parameter, so that all processes have the same amount of work."""
    load = [0.0] * world
    owners = {}
    for name in sorted(params, key=lambda n: (-params[n].numel(), n)):
        owner = load.index(min(load))
        owners[name] = owner
        load[owner] += params[name].numel() * (MUON_COST if name in muon else 1.0)
    return owners
