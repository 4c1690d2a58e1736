"""A causal language model of `transformers` as the decoder, reached by its embeddings.

What is taken is its body: embeddings in, hidden states out. Its embedding and its head become
those of `LightSeekOCR`, so that splicing, predicting and losses are the same for every decoder.
Visual tokens, projected to its width, are to it words that it has not met.

Axes: B R sequences, L new tokens, P prompt tokens, Y layers, D width.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from lightseek.config import LanguageConfig
from lightseek.errors import require


class LanguageDecoder(nn.Module):
    """Embeddings in, hidden states out, as `DeepDecoder`; what is between is another's.

    Raises:
        MissingExtraError: If `transformers` is not installed.
    """

    def __init__(self, config: LanguageConfig) -> None:
        super().__init__()
        self.config = config
        self.body: Any = _make_body(config)

    def forward(self, x: Float[Tensor, "B L D"]) -> Float[Tensor, "B L D"]:
        """Run whole sequences, each token of which sees those before it."""
        return self.body(inputs_embeds=x, use_cache=False).last_hidden_state

    def attention(self, x: Float[Tensor, "1 L D"]) -> Float[Tensor, "Y L L"]:
        """Where each token of a sequence looks, layer by layer: the mean over heads."""
        usual = self.body.config._attn_implementation
        # fused kernels keep no weights
        self.body.set_attn_implementation("eager")
        try:
            weights = self.body(inputs_embeds=x, use_cache=False, output_attentions=True).attentions
        finally:
            self.body.set_attn_implementation(usual)
        return torch.cat([layer.float().mean(1) for layer in weights])

    def begin(
        self, prompt: Float[Tensor, "B P D"], max_tokens: int, padding: Bool[Tensor, "B P"] | None
    ) -> "LanguageSequences":
        """Begin to write; the cache grows by itself, so that `max_tokens` takes no room."""
        return LanguageSequences(self.body, prompt, padding)


class LanguageSequences:
    """Sequences being written: the cache of the language model, and who is padding."""

    def __init__(
        self, body: Any, prompt: Float[Tensor, "B P D"], padding: Bool[Tensor, "B P"] | None
    ) -> None:
        self.body, self.prompt = body, prompt
        self.cache: Any = None
        if padding is None:
            padding = torch.zeros(prompt.shape[:2], dtype=torch.bool, device=prompt.device)
        self.seen = (~padding).long()

    def prefill(self) -> Float[Tensor, "B D"]:
        """Run the prompt."""
        return self._run(self.prompt)

    def next(self, x: Float[Tensor, "R 1 D"]) -> Float[Tensor, "R D"]:
        """Write one token a sequence."""
        self.seen = F.pad(self.seen, (0, 1), value=1)
        return self._run(x)

    def select(self, rows: Int[Tensor, " R"]) -> None:
        """Keep these sequences, in this order."""
        self.cache.reorder_cache(rows)
        self.seen = self.seen[rows]

    def _run(self, x: Float[Tensor, "R L D"]) -> Float[Tensor, "R D"]:
        positions = (self.seen.cumsum(1) - 1).clamp(min=0)[:, -x.shape[1] :]
        given = self.body(
            inputs_embeds=x,
            attention_mask=self.seen,
            position_ids=positions,
            cache=self.cache,
            use_cache=True,
        )
        self.cache = given.cache
        return given.last_hidden_state[:, -1]


def _make_body(config: LanguageConfig) -> nn.Module:
    """The language model between embedding and head, with random weights."""
    transformers = require("transformers", extra="train")
    accelerate = require("accelerate", extra="train")
    without_memory: AbstractContextManager[Any] = nullcontext()
    if torch.empty(0).device.type == "meta":
        # buffers such as rotary frequencies are in no file of weights: they must be real
        without_memory = accelerate.init_empty_weights(include_buffers=False)
    with torch.device("cpu"), without_memory:
        settings = transformers.AutoConfig.for_model(**config.transformers)
        body = transformers.AutoModel.from_config(settings, dtype=torch.float32)
    return without_embedding(body)


def without_embedding(body: Any) -> nn.Module:
    """The same, once its embedding is kept elsewhere."""
    body.set_input_embeddings(nn.Identity())
    return body
