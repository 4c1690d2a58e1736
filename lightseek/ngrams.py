"""The n-gram ban: what keeps a reader from writing the same for ever. Plain lists of token ids."""

from dataclasses import dataclass

from lightseek.errors import UsageError


@dataclass(frozen=True, kw_only=True, slots=True)
class NgramBan:
    """Forbid a token that would complete an n-gram already written within the last tokens."""

    size: int
    window: int
    except_ids: frozenset[int] = frozenset()
    """Tokens that may repeat, such as table cells."""

    def __post_init__(self) -> None:
        if not 1 <= self.size <= self.window:
            raise UsageError(f"a window of {self.window} tokens holds no {self.size}-gram to ban")


def find_ban(text: str, except_ids: frozenset[int]) -> NgramBan | None:
    """A ban written as `SIZE/WINDOW`, or `off`.

    Raises:
        UsageError: If it is neither.
    """
    if text == "off":
        return None
    size, slash, window = text.partition("/")
    if not (slash and size.isdecimal() and window.isdecimal()):
        raise UsageError(f"ngram is {text!r}: write SIZE/WINDOW such as 30/90, or off")
    return NgramBan(size=int(size), window=int(window), except_ids=except_ids)


def banned_tokens(ids: list[int], ban: NgramBan) -> set[int]:
    """Tokens that would complete an n-gram that the last `window` tokens already hold."""
    if len(ids) < ban.size:
        return set()
    last = ids[len(ids) - ban.size + 1 :]
    recent = ids[-ban.window :]
    starts = range(len(recent) - ban.size + 1)
    found = {recent[i + ban.size - 1] for i in starts if recent[i : i + ban.size - 1] == last}
    return found - ban.except_ids
