import itertools
import math
import random
from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from lightseek.config import ModelConfig
from lightseek.decoder import attention_bias
from lightseek.errors import UsageError
from lightseek.generate import (
    Decoding,
    Generated,
    generate,
    generate_steps,
)
from lightseek.model import LightSeekOCR, Places
from lightseek.ngrams import NgramBan, banned_tokens
from lightseek.tokenizer import Tokenizer

NEVER = -1
"""An end token that no model writes."""

Chain = Callable[[list[list[float]]], LightSeekOCR]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(params=["nano", "official", "windowed"])
def model(request: pytest.FixtureRequest) -> LightSeekOCR:
    if request.param == "nano":
        return request.getfixturevalue("tiny_model")
    official: LightSeekOCR = request.getfixturevalue("tiny_official_model")
    if request.param == "official":
        return official
    return with_window(official, 3)


def with_window(official: LightSeekOCR, tokens: int) -> LightSeekOCR:
    decoder = replace(official.config.decoder, sliding_window=tokens)
    model = LightSeekOCR(replace(official.config, decoder=decoder))
    model.load_state_dict(official.state_dict())
    return model.eval()


@pytest.fixture
def chain(tiny_official_config: ModelConfig) -> Chain:
    """Makes models that write by a table: the probability of each token after each token."""

    def make(table: list[list[float]]) -> LightSeekOCR:
        size = len(table)
        assert size <= 8
        decoder = replace(
            tiny_official_config.decoder, vocab_size=size, dim=8, heads=1, depth=1, moe=None
        )
        model = LightSeekOCR(replace(tiny_official_config, decoder=decoder)).eval()
        [layer] = model.decoder.layers
        assert model.head is not None
        with torch.no_grad():
            layer.attention.out.weight.zero_()
            layer.feed_forward.down.weight.zero_()
            model.embedding.weight.copy_(torch.eye(size, 8))
            # the norm makes a one-hot vector sqrt(8) long
            model.head.weight.zero_()
            model.head.weight[:, :size] = torch.tensor(table).clamp(min=1e-30).log().T / 8**0.5
        return model

    return make


@torch.inference_mode()
def ask(model: LightSeekOCR, *tokens: int) -> Tensor:
    """Prompts of one token."""
    return model.embedding(torch.tensor(tokens)[:, None])


def full_scores(
    model: LightSeekOCR, prompt: Tensor, ids: list[int], places: list[tuple[int, int]]
) -> tuple[Tensor, tuple[Tensor, Tensor] | None]:
    """Scores of the next token and its place by one pass over prompt and text, without a cache."""
    x = prompt[None]
    if ids:
        x_bins, y_bins = zip(*places, strict=True)
        at = Places(torch.tensor([x_bins]), torch.tensor([y_bins]))
        x = torch.cat([x, model.embed(torch.tensor([ids]), at)], dim=1)
    config = model.config.decoder
    bias = attention_bias(config, x.shape[1], len(prompt), like=x)
    hidden = model.decoder(x, model.decoder.rotary(torch.arange(x.shape[1])[None], x), bias)
    what, x_scores, y_scores = model.predict(hidden[0, -1])
    where = None if x_scores is None or y_scores is None else (x_scores, y_scores)
    return what, where


def slow_centre(scores: Tensor) -> float:
    shares = scores.softmax(-1).tolist()
    best = shares.index(max(shares))
    near = [i for i in (best - 1, best, best + 1) if 0 <= i < len(shares)]
    return sum(shares[i] * (i + 0.5) for i in near) / sum(shares[i] for i in near)


@torch.inference_mode()
def slow_greedy(model: LightSeekOCR, prompt: Tensor, eos_id: int, max_tokens: int) -> Generated:
    ids: list[int] = []
    bins: list[tuple[int, int]] = []
    logprobs: list[float] = []
    px: list[tuple[float, float]] = []
    while len(ids) < max_tokens:
        what, where = full_scores(model, prompt, ids, bins)
        token = int(what.argmax())
        if token == eos_id:
            return Generated(ids, logprobs, px if where else None, True)
        ids.append(token)
        logprobs.append(float(what.log_softmax(-1)[token]))
        bins.append((int(where[0].argmax()), int(where[1].argmax())) if where else (0, 0))
        if where:
            px.append((8 * slow_centre(where[0]), 8 * slow_centre(where[1])))
    return Generated(ids, logprobs, px if where else None, False)


def assert_same(found: Generated, expected: Generated) -> None:
    assert found.ids == expected.ids
    assert found.finished == expected.finished
    assert found.logprobs == pytest.approx(expected.logprobs, abs=1e-4)
    assert (found.places is None) == (expected.places is None)
    if found.places is not None and expected.places is not None:
        assert found.places == [pytest.approx(place, abs=0.1) for place in expected.places]


def ending(model: LightSeekOCR, prompts: Tensor, max_tokens: int) -> int:
    """The token which, if it ends a text, ends these at the most different steps."""
    texts = [g.ids for g in generate(model, prompts, NEVER, Decoding(max_tokens=max_tokens))]
    tokens = set(itertools.chain(*texts))
    firsts = {t: {ids.index(t) if t in ids else -1 for ids in texts} for t in tokens}
    best = max(firsts, key=lambda token: len(firsts[token]))
    assert len(firsts[best]) >= 3
    return best


def test_training_sees_what_reading_sees(tiny_official_model: LightSeekOCR) -> None:
    """One pass over visual tokens and text gives what generation gives step by step."""
    model = with_window(tiny_official_model, 3)
    visual, bos = torch.randn(1, 4, 32), torch.tensor([[1]])
    prompt = torch.cat([visual, model.embed(bos, None)], dim=1)
    [read] = generate(model, prompt, NEVER, Decoding(max_tokens=9))
    ids = torch.tensor([[1, *read.ids]])
    logprobs = model.predict(model(visual, ids[:, :-1])).what.log_softmax(-1)
    expected = logprobs.gather(-1, ids[:, 1:, None]).flatten()
    assert read.logprobs == pytest.approx(expected.tolist(), abs=1e-4)


def test_greedy_is_the_argmax_of_the_full_forward(model: LightSeekOCR) -> None:
    prompts = torch.randn(2, 5, 32)
    for eos_id in (NEVER, ending(model, torch.randn(8, 5, 32), 9)):
        found = generate(model, prompts, eos_id, Decoding(max_tokens=9))
        for result, prompt in zip(found, prompts, strict=True):
            assert_same(result, slow_greedy(model, prompt, eos_id, 9))


@torch.inference_mode()
def test_reading_sees_what_training_saw(tiny_model: LightSeekOCR) -> None:
    """The forward of training, given what was read, would have read the same."""
    visual, bos = torch.randn(1, 4, 32), 1
    assert tiny_model.place is not None
    ids = torch.tensor([[bos]])
    prompt = torch.cat([visual, tiny_model.embed(ids, tiny_model.place.nowhere(1, 1))], dim=1)
    steps = list(generate_steps(tiny_model, prompt, NEVER, Decoding(max_tokens=6)))
    text = torch.stack([step.ids for step in steps], dim=1)
    first = tiny_model.place.nowhere(1, 1)
    x, y = [first.x], [first.y]
    for length in range(1, 7):
        fed = torch.cat([ids, text[:, : length - 1]], dim=1)
        hidden = tiny_model(visual, fed, Places(torch.cat(x, 1), torch.cat(y, 1)))[:, -1]
        what, x_scores, y_scores = tiny_model.predict(hidden)
        assert x_scores is not None
        assert y_scores is not None
        assert what.argmax(-1).tolist() == text[:, length - 1].tolist()
        x.append(x_scores.argmax(-1)[:, None])
        y.append(y_scores.argmax(-1)[:, None])


def test_a_batch_reads_as_one_by_one_though_rows_leave_early(model: LightSeekOCR) -> None:
    prompts = torch.randn(6, 5, 32)
    eos_id = ending(model, prompts, 12)
    decoding = Decoding(max_tokens=12)
    together = generate(model, prompts, eos_id, decoding)
    assert len({len(result.ids) for result in together}) >= 3
    for result, prompt in zip(together, prompts, strict=True):
        [alone] = generate(model, prompt[None], eos_id, decoding)
        assert_same(result, alone)
    unending = generate(model, prompts, NEVER, decoding)
    for result, whole in zip(together, unending, strict=True):
        stop = whole.ids.index(eos_id) if eos_id in whole.ids else 12
        assert result.ids == whole.ids[:stop]
        assert result.finished == (stop < 12)


@pytest.mark.parametrize("beams", [1, 2])
def test_short_prompts_are_padded_on_their_left(
    tiny_official_model: LightSeekOCR, beams: int
) -> None:
    windowed = with_window(tiny_official_model, 3)
    prompts = [torch.randn(length, 32) for length in (2, 7, 1)]
    padded = torch.randn(3, 7, 32)
    padding = torch.zeros(3, 7, dtype=torch.bool)
    for row, prompt in enumerate(prompts):
        padded[row, 7 - len(prompt) :] = prompt
        padding[row, : 7 - len(prompt)] = True
    decoding = Decoding(max_tokens=8, beams=beams)
    for model in (tiny_official_model, windowed):
        eos_id = ending(model, torch.randn(8, 5, 32), 10)
        found = generate(model, padded, eos_id, decoding, padding)
        for result, prompt in zip(found, prompts, strict=True):
            [alone] = generate(model, prompt[None], eos_id, decoding)
            assert_same(result, alone)


def test_half_precision_does_not_stumble_over_padding(tiny_official_model: LightSeekOCR) -> None:
    model = deepcopy(tiny_official_model).bfloat16()
    padding = torch.tensor([[True, True, False], [False, False, False]])
    prompts = torch.randn(2, 3, 32, dtype=torch.bfloat16)
    found = generate(model, prompts, NEVER, Decoding(max_tokens=4), padding)
    assert all(math.isfinite(p) for result in found for p in result.logprobs)


def test_a_text_without_end_is_cut_and_says_so(chain: Chain) -> None:
    # counts down to 0, which ends it
    table = [[float(after == max(before - 1, 0)) for after in range(6)] for before in range(6)]
    model = chain(table)
    for limit in (1, 3, 4, 9):
        found = generate(model, ask(model, 5, 4, 1), 0, Decoding(max_tokens=limit))
        assert [result.ids for result in found] == [[4, 3, 2, 1][:limit], [3, 2, 1][:limit], []]
        assert [result.finished for result in found] == [limit > 4, limit > 3, True]


@pytest.mark.parametrize("beams", [1, 2])
def test_each_prompt_ends_at_its_own_limit(model: LightSeekOCR, beams: int) -> None:
    prompts, limits = torch.randn(6, 5, 32), (3, 12, 5, 1, 12, 8)
    eos_id = ending(model, prompts, 12)
    found = generate(model, prompts, eos_id, Decoding(max_tokens=limits, beams=beams))
    for result, prompt, limit in zip(found, prompts, limits, strict=True):
        decoding = Decoding(max_tokens=limit, beams=beams)
        assert_same(result, *generate(model, prompt[None], eos_id, decoding))


def test_no_step_is_taken_for_prompts_that_came_to_their_limits(chain: Chain) -> None:
    model = chain([[0.0, 1.0], [0.0, 1.0]])
    steps = [*generate_steps(model, ask(model, 1, 1), NEVER, Decoding(max_tokens=(1, 4)))]
    assert [step.rows.tolist() for step in steps] == [[0, 1], [1], [1], [1]]


STEPS = [
    [0.0, 0.4, 0.3, 0.2, 0.1],
    [0.1, 0.2, 0.5, 0.1, 0.1],
    [0.2, 0.1, 0.1, 0.5, 0.1],
    [0.1, 0.1, 0.1, 0.1, 0.6],
    [0.7, 0.1, 0.1, 0.05, 0.05],
]


def first_tokens(model: LightSeekOCR, decoding: Decoding, count: int = 4000) -> Counter[int]:
    prompts = ask(model, 0).expand(count, -1, -1)
    return Counter(result.ids[0] for result in generate(model, prompts, NEVER, decoding))


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p", "shares"),
    [
        (1.0, None, None, [0.0, 0.4, 0.3, 0.2, 0.1]),
        (0.5, None, None, [0.0, 16 / 30, 9 / 30, 4 / 30, 1 / 30]),
        (1.0, 2, None, [0.0, 4 / 7, 3 / 7, 0.0, 0.0]),
        (1.0, 99, None, [0.0, 0.4, 0.3, 0.2, 0.1]),
        (1.0, None, 0.65, [0.0, 4 / 7, 3 / 7, 0.0, 0.0]),
        (1.0, None, 0.75, [0.0, 4 / 9, 3 / 9, 2 / 9, 0.0]),
        (1.0, None, 1.0, [0.0, 0.4, 0.3, 0.2, 0.1]),
        (1.0, 3, 0.6, [0.0, 4 / 7, 3 / 7, 0.0, 0.0]),
    ],
)
def test_tokens_are_drawn_by_their_shares(
    chain: Chain,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    shares: list[float],
) -> None:
    decoding = Decoding(max_tokens=1, temperature=temperature, top_k=top_k, top_p=top_p)
    drawn = first_tokens(chain(STEPS), decoding)
    for token, share in enumerate(shares):
        assert drawn[token] / 4000 == pytest.approx(share, abs=0.04 if share else 0.0)


@pytest.mark.parametrize(("top_k", "top_p"), [(1, None), (None, 1e-6), (1, 0.5)])
def test_drawing_among_one_is_greedy(
    model: LightSeekOCR, top_k: int | None, top_p: float | None
) -> None:
    prompts = torch.randn(3, 4, 32)
    greedy = generate(model, prompts, NEVER, Decoding(max_tokens=8))
    decoding = Decoding(max_tokens=8, temperature=1.5, top_k=top_k, top_p=top_p)
    assert generate(model, prompts, NEVER, decoding) == greedy


def test_a_seed_decides_what_is_drawn(tiny_official_model: LightSeekOCR) -> None:
    prompts = torch.randn(3, 4, 32)

    def drawn(seed: int) -> list[Generated]:
        decoding = Decoding(max_tokens=8, temperature=1.0, seed=seed)
        return generate(tiny_official_model, prompts, NEVER, decoding)

    assert drawn(3) == drawn(3)
    assert drawn(3) != drawn(4)


def test_logprobs_are_those_of_the_model_whatever_is_drawn(chain: Chain) -> None:
    model = chain(STEPS)
    for decoding in (
        Decoding(max_tokens=5),
        Decoding(max_tokens=5, temperature=2.0, top_k=3),
        Decoding(max_tokens=5, beams=3),
        Decoding(max_tokens=5, ban=NgramBan(size=1, window=9)),
        Decoding(max_tokens=5, beams=2, ban=NgramBan(size=1, window=9)),
    ):
        [found] = generate(model, ask(model, 1), 0, decoding)
        pairs = itertools.pairwise([1, *found.ids])
        expected = [math.log(STEPS[before][after]) for before, after in pairs]
        assert found.logprobs == pytest.approx(expected, abs=1e-4)


def test_no_step_is_taken_for_a_token_that_is_not_written(
    tiny_model: LightSeekOCR, monkeypatch: pytest.MonkeyPatch
) -> None:
    embed, steps = tiny_model.embed, []

    def spy(ids: Tensor, places: Places | None = None) -> Tensor:
        steps.append(ids.shape)
        return embed(ids, places)

    monkeypatch.setattr(tiny_model, "embed", spy)
    generate(tiny_model, torch.randn(1, 3, 32), NEVER, Decoding(max_tokens=4))
    assert len(steps) == 3


def test_prompts_that_vote_write_what_is_likeliest_on_average(chain: Chain) -> None:
    """Either alone would begin otherwise, and end sooner or later than both do together."""
    table = [
        [1.0, 0.0, 0.0, 0.0, 0.0],
        [0.0, 0.0, 0.6, 0.4, 0.0],
        [0.3, 0.1, 0.1, 0.5, 0.0],
        [0.2, 0.0, 0.0, 0.1, 0.7],
        [0.9, 0.0, 0.0, 0.1, 0.0],
    ]
    model = chain(table)
    expected, before = [], (1, 2)
    while True:
        shares = [math.prod(max(table[b][t], 1e-30) for b in before) ** 0.5 for t in range(5)]
        token = shares.index(max(shares))
        if token == 0:
            break
        expected.append((token, shares[token] / sum(shares)))
        before = (token, token)
    both = generate(model, ask(model, 1, 2), 0, Decoding(max_tokens=9, votes=2))
    alone = generate(model, ask(model, 1, 2), 0, Decoding(max_tokens=9))
    for found in both:
        assert found.ids == [token for token, _ in expected]
        assert found.logprobs == pytest.approx([math.log(p) for _, p in expected], abs=1e-4)
        assert found.finished
    assert alone[0].ids != both[0].ids


def test_a_vote_among_the_same_is_the_answer_of_one(model: LightSeekOCR) -> None:
    prompts = torch.randn(3, 4, model.config.decoder.dim)
    alone = generate(model, prompts, NEVER, Decoding(max_tokens=8))
    thrice = prompts.repeat_interleave(3, dim=0)
    together = generate(model, thrice, NEVER, Decoding(max_tokens=8, votes=3))
    for found, expected in zip(together[::3], alone, strict=True):
        assert_same(found, expected)


def test_those_that_vote_tell_their_own_places(tiny_model: LightSeekOCR) -> None:
    prompts = torch.randn(2, 4, tiny_model.config.decoder.dim)
    one, other = generate(tiny_model, prompts, NEVER, Decoding(max_tokens=8, votes=2))
    assert one.ids == other.ids
    assert one.logprobs == other.logprobs
    assert one.places != other.places


def test_groups_that_vote_leave_together(chain: Chain) -> None:
    """A group that has ended does not mix with those that go on."""
    model = chain(STEPS)
    starts = range(1, len(STEPS))
    alone = [generate(model, ask(model, s), 0, Decoding(max_tokens=9))[0] for s in starts]
    prompts = ask(model, *(s for s in starts for _ in range(3)))
    together = generate(model, prompts, 0, Decoding(max_tokens=9, votes=3))[::3]
    assert [found.ids for found in together] == [found.ids for found in alone]
    assert len({len(found.ids) for found in alone}) > 1


def test_beam_search_equals_brute_force_when_it_drops_nothing(chain: Chain) -> None:
    rng = random.Random(0)
    for _ in range(5):
        table = [[rng.random() ** 3 for _ in range(5)] for _ in range(5)]
        table = [[share / sum(row) for share in row] for row in table]
        model = chain(table)
        [found] = generate(model, ask(model, 2), NEVER, Decoding(max_tokens=3, beams=25))

        def likelihood(ids: tuple[int, ...], table: list[list[float]] = table) -> float:
            return math.prod(table[a][b] for a, b in itertools.pairwise((2, *ids)))

        best = max(itertools.product(range(5), repeat=3), key=likelihood)
        assert found.ids == list(best)
        assert sum(found.logprobs) == pytest.approx(math.log(likelihood(best)), abs=1e-4)
        assert not found.finished


def test_beams_find_what_greed_misses(chain: Chain) -> None:
    # 1 is likelier than 2 at first, but only 2 leads on to something sure
    table = [
        [0.0, 0.6, 0.4, 0.0],
        [0.4, 0.3, 0.3, 0.0],
        [0.0, 0.0, 0.0, 1.0],
        [1.0, 0.0, 0.0, 0.0],
    ]
    model = chain(table)
    [greedy] = generate(model, ask(model, 0), 0, Decoding(max_tokens=6))
    [beam] = generate(model, ask(model, 0), 0, Decoding(max_tokens=6, beams=2))
    assert greedy.ids == [1]
    assert beam.ids == [2, 3]
    assert beam.finished


def test_beams_are_likelier_than_greed(model: LightSeekOCR) -> None:
    prompts = torch.randn(6, 5, 32)
    likelihood = {}
    for beams in (1, 5):
        found = generate(model, prompts, NEVER, Decoding(max_tokens=6, beams=beams))
        likelihood[beams] = [sum(result.logprobs) for result in found]
    assert sum(likelihood[5]) > sum(likelihood[1])


@pytest.mark.parametrize("beams", [1, 3])
def test_every_token_has_one_logprob_and_one_place(tiny_model: LightSeekOCR, beams: int) -> None:
    prompts = torch.randn(8, 5, 32)
    eos_id = ending(tiny_model, prompts, 12)
    found = generate(tiny_model, prompts[:4], eos_id, Decoding(max_tokens=12, beams=beams))
    assert any(result.finished for result in found)
    for result in found:
        assert eos_id not in result.ids
        assert result.places is not None
        assert len(result.ids) == len(result.logprobs) == len(result.places)


@torch.inference_mode()
def test_beams_carry_their_own_places(tiny_model: LightSeekOCR) -> None:
    for prompt in torch.randn(4, 5, 32):
        [found] = generate(tiny_model, prompt[None], NEVER, Decoding(max_tokens=5, beams=3))
        assert found.places is not None
        bins: list[tuple[int, int]] = []
        for step, token in enumerate(found.ids):
            what, where = full_scores(tiny_model, prompt, found.ids[:step], bins)
            assert where is not None
            expected = (8 * slow_centre(where[0]), 8 * slow_centre(where[1]))
            assert found.places[step] == pytest.approx(expected, abs=0.1)
            logprob = float(what.log_softmax(-1)[token])
            assert found.logprobs[step] == pytest.approx(logprob, abs=1e-4)
            bins.append((int(where[0].argmax()), int(where[1].argmax())))


def test_an_unlikely_end_does_not_stop_the_beams(chain: Chain) -> None:
    # 0 ends; it is the second likeliest everywhere, and never meant before the 4
    sure = [[0.01 if after == 0 else 0.002 for after in range(6)] for _ in range(6)]
    for before, after in ((5, 1), (1, 2), (2, 3), (3, 4), (4, 0)):
        sure[before][after] = 0.98
    model = chain([[share / sum(row) for share in row] for row in sure])
    for beams in (1, 2, 3, 4):
        [found] = generate(model, ask(model, 5), 0, Decoding(max_tokens=20, beams=beams))
        assert found.ids == [1, 2, 3, 4], f"{beams} beams"
        assert found.finished
        [cut] = generate(model, ask(model, 5), 0, Decoding(max_tokens=3, beams=beams))
        assert cut.ids == [1, 2, 3], f"{beams} beams"
        assert not cut.finished, "a text that was cut must not look whole"


def slow_banned(ids: list[int], ban: NgramBan) -> set[int]:
    banned = set()
    for token in set(ids) - ban.except_ids:
        longer = [*ids, token]
        last = longer[-ban.size :]
        for start in range(max(0, len(ids) - ban.window), len(ids) - ban.size + 1):
            if longer[start : start + ban.size] == last:
                banned.add(token)
    return banned


def test_banned_tokens_against_every_n_gram() -> None:
    rng = random.Random(0)
    some = 0
    for _ in range(2000):
        ids = [rng.randrange(3) for _ in range(rng.randrange(20))]
        size = rng.randint(1, 5)
        ban = NgramBan(
            size=size,
            window=rng.randint(size, 15),
            except_ids=frozenset(rng.sample(range(3), rng.randrange(2))),
        )
        banned = banned_tokens(ids, ban)
        assert banned == slow_banned(ids, ban)
        some += bool(banned)
    assert some > 200


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("window", [4, 50])
def test_no_n_gram_comes_twice_within_the_window(chain: Chain, beams: int, window: int) -> None:
    # a loop of 1 2 3 by nature
    table = [[0.001] * 6 for _ in range(6)]
    for before, after in ((1, 2), (2, 3), (3, 1)):
        table[before][after] = 0.995
    model = chain(table)
    prompt = ask(model, 1)
    [loops] = generate(model, prompt, 0, Decoding(max_tokens=24, beams=beams))
    assert loops.ids == [2, 3, 1] * 8
    ban = NgramBan(size=3, window=window)
    [found] = generate(model, prompt, NEVER, Decoding(max_tokens=24, beams=beams, ban=ban))
    assert len(found.ids) == 24
    seen: dict[tuple[int, ...], int] = {}
    for start in range(22):
        ngram = tuple(found.ids[start : start + 3])
        assert start - seen.get(ngram, -99) > window - 3, f"{ngram} again"
        seen[ngram] = start
    spared = replace(ban, except_ids=frozenset({1, 2, 3}))
    [free] = generate(model, prompt, 0, Decoding(max_tokens=24, beams=beams, ban=spared))
    assert free.ids == loops.ids


def test_the_ban_keeps_rows_apart(chain: Chain) -> None:
    table = [[0.001] * 6 for _ in range(6)]
    for before, after in ((1, 2), (2, 3), (3, 1), (4, 5), (5, 0)):
        table[before][after] = 0.995
    model = chain(table)
    decoding = Decoding(max_tokens=12, ban=NgramBan(size=2, window=20))
    together = generate(model, ask(model, 4, 1, 5, 2), 0, decoding)
    alone = [generate(model, ask(model, start), 0, decoding)[0] for start in (4, 1, 5, 2)]
    assert together == alone
    assert [result.finished for result in together[::2]] == [True, True]


def test_steps_are_what_generate_gathers(model: LightSeekOCR) -> None:
    prompts = torch.randn(8, 5, 32)
    eos_id = ending(model, prompts, 10)
    for decoding in (
        Decoding(max_tokens=10),
        Decoding(max_tokens=10, temperature=1.0, ban=NgramBan(size=2, window=9)),
    ):
        texts: list[list[int]] = [[] for _ in prompts]
        for step in generate_steps(model, prompts, eos_id, decoding):
            for row, token in zip(step.rows.tolist(), step.ids.tolist(), strict=True):
                assert texts[row][-1:] != [eos_id], "a row that ended has left"
                texts[row].append(token)
        found = generate(model, prompts, eos_id, decoding)
        assert [[t for t in ids if t != eos_id] for ids in texts] == [g.ids for g in found]


def test_text_streams_as_it_is_read(tiny_model: LightSeekOCR, tiny_tokenizer: Tokenizer) -> None:
    prompts = torch.randn(8, 5, 32)
    eos_id = ending(tiny_model, prompts, 12)
    decoding = Decoding(max_tokens=12)
    for prompt in prompts[:3, None]:
        steps = generate_steps(tiny_model, prompt, eos_id, decoding)
        pieces = list(tiny_tokenizer.stream(int(step.ids) for step in steps))
        [whole] = generate(tiny_model, prompt, NEVER, decoding)
        stop = whole.ids.index(eos_id) + 1 if eos_id in whole.ids else None
        assert "".join(pieces) == tiny_tokenizer.decode(whole.ids[:stop])


def test_beams_cannot_be_streamed(tiny_model: LightSeekOCR) -> None:
    with pytest.raises(UsageError, match="beam search"):
        next(generate_steps(tiny_model, torch.randn(1, 3, 32), 2, Decoding(max_tokens=1, beams=2)))


@pytest.mark.parametrize("beams", [1, 2])
def test_places_lie_between_likely_bins(tiny_model: LightSeekOCR, beams: int) -> None:
    model = deepcopy(tiny_model)
    assert model.place is not None
    for shares, px in (
        ({0: 1.0}, 4.0),
        ({127: 1.0}, 1020.0),
        ({0: 0.75, 1: 0.25}, 6.0),
        ({126: 0.25, 127: 0.75}, 1018.0),
        ({50: 0.6, 51: 0.4}, 8 * 50.9),
        ({49: 0.2, 50: 0.6, 51: 0.2}, 8 * 50.5),
        ({10: 0.4, 11: 0.3, 90: 0.3}, 8 * (0.4 * 10.5 + 0.3 * 11.5) / 0.7),
    ):
        with torch.no_grad():
            model.place.x_head.weight.zero_()
            model.place.x_head.bias.fill_(math.log(1e-9))
            for bin_, share in shares.items():
                model.place.x_head.bias[bin_] = math.log(share)
        [found] = generate(model, torch.randn(1, 4, 32), NEVER, Decoding(max_tokens=3, beams=beams))
        assert found.places is not None
        assert [x for x, _ in found.places] == pytest.approx([px] * 3, abs=0.01)
        assert all(0 <= y <= 128 for _, y in found.places)


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_tokens": 0},
        {"max_tokens": 5, "beams": 0},
        {"max_tokens": 5, "beams": 2, "temperature": 0.5},
        {"max_tokens": 5, "temperature": -0.1},
        {"max_tokens": 5, "votes": 0},
        {"max_tokens": 5, "votes": 2, "beams": 2},
        {"max_tokens": 5, "votes": 2, "temperature": 0.5},
        {"max_tokens": 5, "top_k": 3},
        {"max_tokens": 5, "top_p": 0.5},
        {"max_tokens": 5, "temperature": 1.0, "top_k": 0},
        {"max_tokens": 5, "temperature": 1.0, "top_p": 0.0},
    ],
)
def test_impossible_ways_to_decode_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        Decoding(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(("size", "window"), [(0, 5), (3, 2), (1, 0)])
def test_impossible_bans_are_refused(size: int, window: int) -> None:
    with pytest.raises(UsageError, match="holds no"):
        NgramBan(size=size, window=window)
