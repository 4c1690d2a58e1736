"""Our feed-forward and norm against those of `transformers`' DeepSeek-V2."""

from typing import Any

import pytest
import torch

from lightseek.config import MoeConfig
from lightseek.decoder import MoeFeedForward, SwiGlu, make_norm
from lightseek.presets import preset

EXACT = {"rtol": 1e-5, "atol": 1e-5}
MOE = MoeConfig(experts=64, active=6, expert_dim=12, shared_dim=24, dense_layers=1)


@pytest.fixture(scope="module")
def config(transformers: Any) -> Any:
    return transformers.DeepseekV2Config(
        hidden_size=32,
        intermediate_size=48,
        moe_intermediate_size=MOE.expert_dim,
        n_routed_experts=MOE.experts,
        num_experts_per_tok=MOE.active,
        n_shared_experts=MOE.shared_dim // MOE.expert_dim,
        n_group=1,
        topk_group=1,
        topk_method="greedy",
        norm_topk_prob=False,
        routed_scaling_factor=1.0,
    )


def randomise(module: torch.nn.Module) -> None:
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3)


@torch.inference_mode()
@pytest.mark.parametrize("length", [1, 50])
def test_six_of_64_experts_and_the_shared_one(config: Any, length: int) -> None:
    from transformers.models.deepseek_v2.modeling_deepseek_v2 import DeepseekV2Moe

    theirs, ours = DeepseekV2Moe(config).eval(), MoeFeedForward(32, MOE).eval()
    randomise(theirs)
    ours.router.weight.copy_(theirs.gate.weight)
    for number, expert in enumerate(ours.experts):
        gate, up = theirs.experts.gate_up_proj[number].chunk(2)
        expert.gate.weight.copy_(gate)
        expert.up.weight.copy_(up)
        expert.down.weight.copy_(theirs.experts.down_proj[number])
    copy_glu(theirs.shared_experts, ours.shared)
    x = torch.randn(2, length, 32)
    torch.testing.assert_close(ours(x), theirs(x), **EXACT)


@torch.inference_mode()
def test_the_dense_first_layer(config: Any) -> None:
    from transformers.models.deepseek_v2.modeling_deepseek_v2 import DeepseekV2MLP

    theirs, ours = DeepseekV2MLP(config).eval(), SwiGlu(32, 48).eval()
    randomise(theirs)
    copy_glu(theirs, ours)
    x = torch.randn(2, 5, 32)
    torch.testing.assert_close(ours(x), theirs(x), **EXACT)


@torch.inference_mode()
def test_norm(transformers: Any) -> None:
    from transformers.models.deepseek_v2.modeling_deepseek_v2 import DeepseekV2RMSNorm

    decoder = preset("deepseek-ocr").decoder
    theirs, ours = DeepseekV2RMSNorm(decoder.dim, decoder.norm_eps), make_norm(decoder)
    randomise(theirs)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 5, decoder.dim) * 3
    torch.testing.assert_close(ours(x), theirs(x), **EXACT)


def copy_glu(theirs: Any, ours: SwiGlu) -> None:
    for mine, other in ((ours.gate, "gate"), (ours.up, "up"), (ours.down, "down")):
        mine.weight.copy_(getattr(theirs, f"{other}_proj").weight)
