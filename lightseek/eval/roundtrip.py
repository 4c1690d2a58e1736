"""Text that was set on pages, read back: what came through, and how far it was compressed.

Knows nothing of models or of how pages are set.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from lightseek.document import Document, Status
from lightseek.eval.metrics import score_all


@dataclass(frozen=True, kw_only=True, slots=True)
class RoundTrip:
    """What a model made of pages whose text is known."""

    model: str
    mode: str
    pages: int
    text: str
    """What was read, page after page."""
    characters: int
    """In the truth, as they are compared."""
    cer: float
    """Character error rate."""
    visual_tokens: int
    text_tokens: int
    """Of the truth, by the model's own tokenizer."""

    @property
    def compression(self) -> float:
        """Text tokens for each visual token."""
        return self.text_tokens / max(self.visual_tokens, 1)

    def to_json(self) -> str:
        """Everything, as JSON."""
        told = {**asdict(self), "compression": self.compression}
        return json.dumps(told, ensure_ascii=False, indent=1)

    def to_text(self) -> str:
        """A line for each figure."""
        rows = (
            ("model", f"{self.model}, mode {self.mode}"),
            ("pages", f"{self.pages}"),
            ("CER", f"{self.cer:.2%} of {self.characters:,} characters"),
            ("visual tokens", f"{self.visual_tokens:,}"),
            ("text tokens", f"{self.text_tokens:,} by the tokenizer of {self.model}"),
            ("compression", f"{self.compression:.2f} text tokens a visual token"),
        )
        return "\n".join(f"{name:<15}{value}" for name, value in rows)


def compare(
    documents: Iterable[Document],
    truths: Sequence[str],
    *,
    model: str,
    mode: str,
    visual_tokens: int,
    text_tokens: int,
) -> RoundTrip:
    """Compare what was read of each page with what stands on it.

    Args:
        documents: One a page, in order.
        truths: The text of each page.
        model: Name of what read.
        mode: How it looked at the pages.
        visual_tokens: What it saw, on all pages.
        text_tokens: What its tokenizer makes of the truths.

    Raises:
        MissingExtraError: If rapidfuzz is not installed.
    """
    texts = [_text(document) for document in documents]
    whole = score_all(texts, truths)
    return RoundTrip(
        model=model,
        mode=mode,
        pages=len(truths),
        text="\n".join(texts),
        characters=whole.characters,
        cer=whole.cer,
        visual_tokens=visual_tokens,
        text_tokens=text_tokens,
    )


def _text(document: Document) -> str:
    return "\n".join(page.text for page in document.pages if page.status is not Status.FAILED)
