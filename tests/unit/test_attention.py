import pytest
import torch
from torch.nn import functional as F

from lightseek.attention import MapNorm, Mlp, attend, quick_gelu, relu2


@pytest.mark.parametrize("biased", [False, True])
def test_both_ways_to_attend_agree_with_the_definition(biased: bool) -> None:
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, 3, length, 4) for length in (5, 7, 7))
    bias = torch.randn(2, 1, 5, 7) if biased else torch.zeros(())
    if biased:
        bias[0, 0, :, 3] = float("-inf")
    expected = torch.empty(2, 3, 5, 4)
    for b in range(2):
        for head in range(3):
            scores = query[b, head] @ key[b, head].T / 4**0.5 + (bias[b, 0] if biased else 0)
            weights = scores.exp() / scores.exp().sum(-1, keepdim=True)
            expected[b, head] = weights @ value[b, head]
    trained = attend(query, key, value, bias if biased else None)
    with torch.inference_mode():
        read = attend(query, key, value, bias if biased else None)
    torch.testing.assert_close(trained, expected)
    torch.testing.assert_close(read, expected)


def test_map_norm_norms_every_cell_by_itself() -> None:
    x = torch.randn(2, 6, 3, 4) * 5 + 2
    norm = MapNorm(6, eps=1e-6)
    y = norm(x)
    torch.testing.assert_close(y.mean(1), torch.zeros(2, 3, 4), atol=1e-5, rtol=0)
    torch.testing.assert_close(y.var(1, correction=0), torch.ones(2, 3, 4))
    changed = x.clone()
    changed[:, :, 0, 0] += torch.randn(6)
    assert torch.equal(norm(changed)[:, :, 1:], y[:, :, 1:])


def test_activations() -> None:
    x = torch.linspace(-4, 4, 41)
    assert torch.equal(relu2(x), torch.where(x > 0, x * x, 0.0))
    torch.testing.assert_close(quick_gelu(x), F.gelu(x), atol=0.03, rtol=0)
    assert not torch.allclose(quick_gelu(x), F.gelu(x), atol=1e-3), "they are not the same"


def test_mlp_has_biases_or_none() -> None:
    assert {n for n, _ in Mlp(4, 8, "gelu").named_parameters()} == {
        "up.weight",
        "up.bias",
        "down.weight",
        "down.bias",
    }
    bare = Mlp(4, 8, "relu2", bias=False)
    assert {n for n, _ in bare.named_parameters()} == {"up.weight", "down.weight"}
    x = torch.randn(3, 4)
    torch.testing.assert_close(bare(x), (x @ bare.up.weight.T).relu() ** 2 @ bare.down.weight.T)
