"""From a prompt to tokens: prefill, then one token a step for all sequences at once.

Greedy, sampling and beam search, a windowed n-gram ban, and the places of tokens for models that
tell them. Works on embeddings and ids alone; knows nothing of text or pages.

Axes: B sequences, P prompt tokens, D width, S vocabulary, X place bins across.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import reduce, repeat
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lightseek.decoder import HIDDEN
from lightseek.errors import UsageError
from lightseek.model import LightSeekOCR, Places, Predicted
from lightseek.ngrams import NgramBan, banned_tokens
from lightseek.sequences import Sequences

KEPT_SHARE = 0.75
"""Rows leave the batch when no more than this share of it is still being read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Decoding:
    """How the next token is chosen."""

    max_tokens: int | tuple[int, ...]
    """Most tokens, the end token counted, of every prompt or of each."""
    temperature: float = 0.0
    """0 takes the likeliest token; above, tokens are drawn."""
    top_k: int | None = None
    """Draw among this many likeliest tokens."""
    top_p: float | None = None
    """Draw among the likeliest tokens that hold this share of the probability."""
    beams: int = 1
    """Above 1, the likeliest of this many sequences explored side by side."""
    votes: int = 1
    """So many prompts in a row show the same text, and choose each of its tokens together."""
    ban: NgramBan | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.beams > 1 and self.temperature > 0:
            raise UsageError("beam search does not sample: leave out the temperature or the beams")
        if self.votes > 1 and (self.beams > 1 or self.temperature > 0):
            raise UsageError("votes choose the likeliest token: leave out temperature and beams")
        if min(*self.limits(1), self.beams, self.votes) < 1 or self.temperature < 0:
            raise UsageError("max_tokens, beams and votes start at 1, the temperature at 0")
        if (self.top_k is not None and self.top_k < 1) or (
            self.top_p is not None and self.top_p <= 0
        ):
            raise UsageError("top_k starts at 1, top_p above 0: leave them out to draw among all")
        if self.temperature == 0 and (self.top_k, self.top_p) != (None, None):
            raise UsageError("top_k and top_p are for drawing tokens: give a temperature above 0")

    def limits(self, prompts: int) -> tuple[int, ...]:
        """Most tokens of each of so many prompts."""
        return (
            self.max_tokens if isinstance(self.max_tokens, tuple) else (self.max_tokens,) * prompts
        )


@dataclass(frozen=True, slots=True)
class Generated:
    """One finished sequence."""

    ids: list[int]
    """Tokens, the end token left out."""
    logprobs: list[float]
    """Natural logarithm of the probability that each token had."""
    places: list[tuple[float, float]] | None
    """Where each token stands on its view, in pixels, for models with place heads."""
    finished: bool
    """Whether the end token came before the limit."""


class Step(NamedTuple):
    """What one step gave to the rows that are still being read."""

    rows: Int[Tensor, " R"]
    """Their place in the batch."""
    ids: Int[Tensor, " R"]
    logprobs: Float[Tensor, " R"]
    places: Float[Tensor, "R 2"] | None

    def only(self, chosen: Bool[Tensor, " R"]) -> "Step":
        """What concerns some of the rows."""
        places = None if self.places is None else self.places[chosen]
        return Step(self.rows[chosen], self.ids[chosen], self.logprobs[chosen], places)


@torch.inference_mode()
def generate(
    model: LightSeekOCR,
    prompt: Float[Tensor, "B P D"],
    eos_id: int,
    decoding: Decoding,
    padding: Bool[Tensor, "B P"] | None = None,
) -> list[Generated]:
    """Read to the end.

    Args:
        model: Any model.
        prompt: Embeddings of visual tokens and text, `LightSeekOCR.splice`.
        eos_id: Token that ends a sequence.
        decoding: How to choose.
        padding: True where shorter prompts are filled up, on their left.

    Returns:
        One result a prompt, in order; those that voted together differ in places alone.
    """
    if decoding.beams > 1:
        pads = [None] * len(prompt) if padding is None else [row[None] for row in padding]
        return [
            _beam_search(model, row[None], eos_id, decoding, limit, pad)
            for row, pad, limit in zip(prompt, pads, decoding.limits(len(prompt)), strict=True)
        ]
    read = [_nothing(model) for _ in prompt]
    for step in generate_steps(model, prompt, eos_id, decoding, padding):
        where = [(0.0, 0.0)] * len(step.rows) if step.places is None else step.places.tolist()
        for row, token, logprob, place in zip(
            step.rows.tolist(), step.ids.tolist(), step.logprobs.tolist(), where, strict=True
        ):
            text = read[row]
            if token == eos_id:
                read[row] = replace(text, finished=True)
                continue
            text.ids.append(token)
            text.logprobs.append(logprob)
            if text.places is not None:
                text.places.append((place[0], place[1]))
    return read


def _nothing(model: LightSeekOCR) -> Generated:
    return Generated([], [], None if model.place is None else [], finished=False)


@torch.inference_mode()
def generate_steps(
    model: LightSeekOCR,
    prompt: Float[Tensor, "B P D"],
    eos_id: int,
    decoding: Decoding,
    padding: Bool[Tensor, "B P"] | None = None,
) -> Iterator[Step]:
    """Greedy or sampled tokens as they come, for streaming; arguments as for `generate`.

    Rows that have ended leave the batch once they are many, so that a long line does not carry
    short ones along, and the cache is not copied for each of them.

    Raises:
        UsageError: If beams are asked for: what they begin with is known at their end alone.
    """
    if decoding.beams > 1:
        raise UsageError("beam search cannot be streamed: leave out the beams, or use generate")
    limits = torch.tensor(decoding.limits(len(prompt)), device=prompt.device)
    most = int(limits.max())
    state: Sequences = model.decoder.begin(prompt, most, padding)
    draw = torch.Generator(device=prompt.device).manual_seed(decoding.seed)
    rows = torch.arange(len(prompt), device=prompt.device)
    reading = torch.ones_like(rows, dtype=torch.bool)
    written: list[list[int]] = [[] for _ in rows]
    hidden = state.prefill()
    for count in range(1, most + 1):
        predicted = model.predict(hidden)
        scores = predicted.what
        if decoding.votes > 1:
            scores = _voted(scores, decoding.votes)
        allowed = scores
        if decoding.ban is not None:
            allowed = _ban(scores, [written[r] for r in rows.tolist()], decoding.ban)
        ids = _choose(allowed, decoding, draw)
        logprobs = _logprobs(scores, ids)
        next_places, place_px = _places(model, predicted)
        step = Step(rows, ids, logprobs, place_px)
        yield step if bool(reading.all()) else step.only(reading)
        if decoding.ban is not None:
            for row, token in zip(rows.tolist(), ids.tolist(), strict=True):
                written[row].append(token)
        reading &= (ids != eos_id) & (count < limits)
        kept = reading.nonzero()[:, 0]
        if len(kept) == 0:
            return
        if len(kept) <= len(rows) * KEPT_SHARE:
            rows, ids, reading, limits = rows[kept], ids[kept], reading[kept], limits[kept]
            next_places = next_places and next_places.only(kept)
            state.select(kept)
        hidden = state.next(model.embed(ids[:, None], next_places))


def _voted(scores: Float[Tensor, "R S"], votes: int) -> Float[Tensor, "R S"]:
    """The geometric mean of the probabilities that rows which read the same give a token."""
    mean = reduce(scores.float().log_softmax(-1), "(G v) S -> G S", "mean", v=votes)
    return repeat(mean, "G S -> (G v) S", v=votes)


def _choose(
    scores: Float[Tensor, "R S"], decoding: Decoding, draw: torch.Generator
) -> Int[Tensor, " R"]:
    """The likeliest token, or one drawn by temperature, top-k and top-p."""
    if decoding.temperature == 0:
        return scores.max(-1).indices  # a CPU takes four times as long for `argmax`
    scores = scores.float() / decoding.temperature
    if decoding.top_k is not None:
        kth = scores.topk(min(decoding.top_k, scores.shape[-1]), dim=-1).values[:, -1:]
        scores = scores.masked_fill(scores < kth, HIDDEN)
    if decoding.top_p is not None:
        ordered, order = scores.sort(dim=-1, descending=True)
        probabilities = ordered.softmax(-1)
        # the likeliest token always stays: what counts is the mass before each
        beyond = probabilities.cumsum(-1) - probabilities >= decoding.top_p
        scores = ordered.masked_fill(beyond, HIDDEN).gather(1, order.argsort(-1))
    return torch.multinomial(scores.softmax(-1), 1, generator=draw)[:, 0]


def _logprobs(scores: Float[Tensor, "R S"], ids: Int[Tensor, " R"]) -> Float[Tensor, " R"]:
    """The logarithm of each chosen token's share, without a copy of all scores in float32."""
    # less the highest: in bfloat16, what is near it keeps its digits
    scores = scores - scores.amax(-1, keepdim=True)
    chosen = scores.gather(1, ids[:, None])[:, 0].float()
    return chosen - scores.exp().sum(-1, dtype=torch.float32).log()


def _ban(
    scores: Float[Tensor, "R S"], written: list[list[int]], ban: NgramBan
) -> Float[Tensor, "R S"]:
    """Scores without the tokens that would repeat an n-gram."""
    scores = scores.clone()
    for row, ids in enumerate(written):
        if banned := banned_tokens(ids, ban):
            scores[row, sorted(banned)] = HIDDEN
    return scores


def _places(
    model: LightSeekOCR, predicted: Predicted
) -> tuple[Places | None, Float[Tensor, "R 2"] | None]:
    """The likeliest bins, which the next step is told, and their centres in pixels."""
    if model.place is None or predicted.x is None or predicted.y is None:
        return None, None
    bins = Places(predicted.x.argmax(-1)[:, None], predicted.y.argmax(-1)[:, None])
    centres = torch.stack([_centre(predicted.x, bins.x), _centre(predicted.y, bins.y)], dim=-1)
    return bins, centres * model.place.config.bin_px


def _centre(scores: Float[Tensor, "R X"], best: Int[Tensor, "R 1"]) -> Float[Tensor, " R"]:
    """Where the likeliest bin and its two neighbours balance, in bins from the edge.

    Finer than a bin: a character between two bins gives both of them some probability.
    """
    near = best + torch.arange(3, device=scores.device)
    # one bin beyond either edge, which no character is in
    beyond = F.pad(scores.float(), (1, 1), value=HIDDEN)
    return (beyond.gather(1, near).softmax(-1) * (near - 0.5)).sum(-1)


def _beam_search(
    model: LightSeekOCR,
    prompt: Float[Tensor, "1 P D"],
    eos_id: int,
    decoding: Decoding,
    max_tokens: int,
    padding: Bool[Tensor, "1 P"] | None,
) -> Generated:
    """The sequence of the highest mean log-probability among those explored."""
    state: Sequences = model.decoder.begin(prompt, max_tokens, padding)
    hidden = state.prefill()
    beams = [_Beam(_nothing(model), 0.0)]
    done: list[_Beam] = []
    for _ in range(max_tokens):
        predicted = model.predict(hidden)
        bins, centres = _places(model, predicted)
        logprobs = predicted.what.float().log_softmax(-1)
        parents, tokens = _best_steps(beams, logprobs, decoding)
        gains = logprobs[parents, tokens].tolist()
        places = None if centres is None else centres.tolist()
        grown: list[_Beam] = []
        origins: list[int] = []
        for parent, token, gain in zip(parents.tolist(), tokens.tolist(), gains, strict=True):
            if token == eos_id:
                done.append(beams[parent].ended(gain))
            elif len(grown) < decoding.beams:
                grown.append(beams[parent].longer(token, gain, places and places[parent]))
                origins.append(parent)
        beams = grown
        done = sorted(done, key=_mean, reverse=True)[: decoding.beams]
        best = max(done + beams, key=_mean)
        # an early end is often a poor one: it does not stop what is likelier so far
        if not beams or (best.text.finished and len(done) == decoding.beams):
            break
        kept = torch.tensor(origins, device=prompt.device)
        state.select(kept)
        told = bins and bins.only(kept)
        ids = torch.tensor([[beam.text.ids[-1]] for beam in beams], device=prompt.device)
        hidden = state.next(model.embed(ids, told))
    return best.text


@dataclass(frozen=True, slots=True)
class _Beam:
    """A sequence that is explored."""

    text: Generated
    total: float
    """Log-probability of all its tokens, the end token included."""

    def ended(self, gain: float) -> "_Beam":
        return _Beam(replace(self.text, finished=True), self.total + gain)

    def longer(self, token: int, gain: float, place: list[float] | None) -> "_Beam":
        places = self.text.places
        if places is not None and place is not None:
            places = [*places, (place[0], place[1])]
        text = Generated([*self.text.ids, token], [*self.text.logprobs, gain], places, False)
        return _Beam(text, self.total + gain)


def _mean(beam: _Beam) -> float:
    return beam.total / max(1, len(beam.text.ids) + beam.text.finished)


def _best_steps(
    beams: list[_Beam], logprobs: Float[Tensor, "R S"], decoding: Decoding
) -> tuple[Int[Tensor, " T"], Int[Tensor, " T"]]:
    """The likeliest sequences of one more token: which beam each continues, and how.

    Twice as many as there are beams, so that enough go on even if every beam may end here.
    """
    allowed = logprobs
    if decoding.ban is not None:
        allowed = _ban(logprobs, [beam.text.ids for beam in beams], decoding.ban)
    totals = allowed + logprobs.new_tensor([[beam.total] for beam in beams])
    best = totals.flatten().topk(min(2 * decoding.beams, totals.numel()))
    steps = best.indices[best.values > HIDDEN]
    return steps // logprobs.shape[1], steps % logprobs.shape[1]
