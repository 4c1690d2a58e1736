from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lightseek import decoder as decoding
from lightseek.config import DecoderConfig, ModelConfig
from lightseek.decoder import (
    DeepDecoder,
    KvCache,
    MoeFeedForward,
    SelfAttention,
    attention_bias,
    make_norm,
)
from lightseek.model import LightSeekOCR


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(params=["tiny_model", "tiny_official_model"])
def model(request: pytest.FixtureRequest) -> LightSeekOCR:
    return request.getfixturevalue(request.param)


def full(decoder: DeepDecoder, x: Tensor, prompt: int) -> Tensor:
    bias = attention_bias(decoder.config, x.shape[1], prompt, like=x)
    return decoder(x, decoder.rotary(torch.arange(x.shape[1])[None], x), bias)


@pytest.mark.parametrize("first", [1, 4, 9])
@pytest.mark.parametrize("growth", [1, 4, 32])
@pytest.mark.parametrize("window", [None, 1, 2, 5, 9])
@torch.inference_mode()
def test_cached_steps_equal_the_full_forward(
    model: LightSeekOCR,
    first: int,
    growth: int,
    window: int | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(decoding, "GROWTH", growth)
    decoder = DeepDecoder(replace(model.config.decoder, sliding_window=window))
    decoder.load_state_dict(model.decoder.state_dict())
    x = torch.randn(2, 10, decoder.config.dim)
    cache = KvCache(decoder.config, batch=2, like=x, prompt=first)
    rotary = decoder.rotary(torch.arange(10)[None], x)
    bias = attention_bias(decoder.config, first, first, like=x)
    parts = [decoder(x[:, :first], rotary.at(0, first), bias, cache)]
    for at in range(first, 10):
        assert cache.length == at
        parts.append(decoder(x[:, at : at + 1], rotary.at(at, 1), None, cache))
    assert cache.room <= (10 if window is None else min(10, first + window)) + growth - 1
    torch.testing.assert_close(torch.cat(parts, 1), full(decoder, x, first), atol=1e-5, rtol=1e-5)


def test_a_decoder_that_looks_at_maps_is_another(tiny_base_config: ModelConfig) -> None:
    assert isinstance(tiny_base_config.decoder, DecoderConfig)
    with pytest.raises(ValueError, match=r"is lightseek\.cross\.CrossDecoder"):
        DeepDecoder(tiny_base_config.decoder)


@pytest.mark.parametrize("rows", [[2, 0, 2, 2], [2, 0]])
@pytest.mark.parametrize("window", [None, 2, 3])
@torch.inference_mode()
def test_a_cache_keeps_and_copies_rows(
    model: LightSeekOCR, rows: list[int], window: int | None
) -> None:
    """Also when tokens have taken the places of others."""
    decoder = DeepDecoder(replace(model.config.decoder, sliding_window=window))
    decoder.load_state_dict(model.decoder.state_dict())
    x = torch.randn(3, 9, decoder.config.dim)
    rotary = decoder.rotary(torch.arange(9)[None], x)
    bias = attention_bias(decoder.config, 4, 4, like=x)
    cache = KvCache(decoder.config, batch=3, like=x, prompt=4)
    decoder(x[:, :4], rotary.at(0, 4), bias, cache)
    for at in range(4, 8):
        decoder(x[:, at : at + 1], rotary.at(at, 1), None, cache)
    cache.select(torch.tensor(rows))
    last = decoder(x[rows, 8:], rotary.at(8, 1), None, cache)
    expected = full(decoder, x, 4)[rows, 8:]
    torch.testing.assert_close(last, expected, atol=1e-5, rtol=1e-5)


def seen(config: DecoderConfig, length: int, prompt: int) -> list[list[bool]]:
    """Who sees whom, said pair by pair."""
    pairs = []
    for query in range(length):
        row = []
        for key in range(length):
            visible = key <= query
            window = config.sliding_window
            if window is not None and key >= prompt and query - key >= window:
                visible = False
            if config.bidirectional_prefix and key < prompt - 1:
                visible = True
            row.append(visible)
        pairs.append(row)
    return pairs


@pytest.mark.parametrize("window", [None, 1, 2, 4])
@pytest.mark.parametrize("both_ways", [True, False])
@pytest.mark.parametrize("prompt", [1, 2, 4, 8])
def test_the_mask_against_brute_force(
    tiny_config: ModelConfig, window: int | None, both_ways: bool, prompt: int
) -> None:
    config = replace(tiny_config.decoder, sliding_window=window, bidirectional_prefix=both_ways)
    bias = attention_bias(config, 8, prompt, like=torch.zeros(1))
    assert set(bias.unique().tolist()) <= {0.0, float("-inf")}
    assert (bias == 0).tolist() == seen(config, 8, prompt)


@torch.inference_mode()
def test_a_token_sees_what_the_mask_says_and_no_more(tiny_config: ModelConfig) -> None:
    config = replace(tiny_config.decoder, depth=1, sliding_window=2)
    decoder = DeepDecoder(config).eval()
    x = torch.randn(1, 8, config.dim)
    before = full(decoder, x, 3)
    for key in range(8):
        changed = x.clone()
        changed[:, key] += torch.randn(config.dim)
        differs = (full(decoder, changed, 3) != before).any(-1)[0]
        assert differs.tolist() == [row[key] for row in seen(config, 8, 3)]


def complex_turn(x: Tensor, positions: Tensor, base: float) -> Tensor:
    """RoFormer: pairs of channels as complex numbers, times e^(i position angle)."""
    half = x.shape[-1] // 2
    numbers = torch.complex(x[..., :half].double(), x[..., half:].double())
    angles = positions[:, None].double() * base ** (-torch.arange(half).double() / half)
    turned = numbers * torch.polar(torch.ones_like(angles), angles)
    return torch.cat([turned.real, turned.imag], dim=-1)


def test_rotary_against_complex_numbers(tiny_official_config: ModelConfig) -> None:
    decoder = DeepDecoder(tiny_official_config.decoder)
    positions = torch.tensor([0, 1, 2, 70, 4000])
    x = torch.randn(2, 3, 5, 16)
    turned = decoder.rotary(positions[None], x).turn(x)
    expected = complex_turn(x, positions, tiny_official_config.decoder.rope_base)
    torch.testing.assert_close(turned.double(), expected, atol=2e-3, rtol=1e-4)


@torch.inference_mode()
def test_attention_knows_distances_alone(model: LightSeekOCR) -> None:
    layer = model.decoder.layers[0].attention
    assert isinstance(layer, SelfAttention)
    x = torch.randn(1, 6, model.config.decoder.dim)
    at = torch.arange(6)[None]
    here, there = (layer(x, model.decoder.rotary(p, x), None, None, 0) for p in (at, at + 31))
    torch.testing.assert_close(here, there, atol=1e-4, rtol=1e-4)
    spread = layer(x, model.decoder.rotary(at * 5, x), None, None, 0)
    assert not torch.allclose(here, spread, atol=1e-4)


def slow_moe(layer: MoeFeedForward, x: Tensor) -> Tensor:
    """Token by token: its likeliest experts, weighted by their share among all experts."""
    out = torch.empty_like(x)
    for index in range(len(x)):
        token = x[index]
        shares = (layer.router.weight @ token).softmax(-1)
        answer = layer.shared(token)
        for expert in sorted(range(len(shares)), key=lambda e: -float(shares[e]))[: layer.active]:
            answer = answer + shares[expert] * layer.experts[expert](token)
        out[index] = answer
    return out


@pytest.mark.parametrize("tokens", [1, 2, 40])
@torch.inference_mode()
def test_grouped_experts_equal_a_loop_over_tokens(
    tiny_official_model: LightSeekOCR, tokens: int
) -> None:
    layer = tiny_official_model.decoder.layers[1].feed_forward
    assert isinstance(layer, MoeFeedForward)
    x = torch.randn(1, tokens, tiny_official_model.config.decoder.dim)
    torch.testing.assert_close(layer(x)[0], slow_moe(layer, x[0]), atol=1e-5, rtol=1e-5)


def test_experts_learn(tiny_official_config: ModelConfig) -> None:
    config = tiny_official_config.decoder
    assert config.moe is not None
    layer = MoeFeedForward(config.dim, config.moe)
    x = torch.randn(2, 8, config.dim, requires_grad=True)
    layer(x).square().sum().backward()
    assert x.grad is not None
    for name, parameter in layer.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.any()), name


def test_experts_begin_after_the_dense_layers(tiny_official_config: ModelConfig) -> None:
    config = tiny_official_config.decoder
    assert config.moe is not None
    for dense in (0, 1, 2):
        moe = replace(config.moe, dense_layers=dense)
        layers = DeepDecoder(replace(config, moe=moe)).layers
        kinds = [isinstance(layer.feed_forward, MoeFeedForward) for layer in layers]
        assert kinds == [index >= dense for index in range(2)]


def test_norms(tiny_config: ModelConfig, tiny_official_config: ModelConfig) -> None:
    x = torch.randn(4, tiny_config.decoder.dim) * 3 + 1
    layer, rms = make_norm(tiny_config.decoder), make_norm(tiny_official_config.decoder)
    centred = x - x.mean(-1, keepdim=True)
    expected = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(layer(x), expected)
    torch.testing.assert_close(rms(x), x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt())


@torch.inference_mode()
def test_gated_feed_forward(tiny_official_model: LightSeekOCR) -> None:
    gated = tiny_official_model.decoder.layers[0].feed_forward
    x = torch.randn(2, 3, tiny_official_model.config.decoder.dim)
    gate, up, down = (m.weight for m in (gated.gate, gated.up, gated.down))
    expected = (F.silu(x @ gate.T) * (x @ up.T)) @ down.T
    torch.testing.assert_close(gated(x), expected, atol=1e-5, rtol=1e-5)
