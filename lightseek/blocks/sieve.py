"""Runs of letters apart from what only looks like them: pictures, dirt, text cut off or turned.

Knows nothing of columns or reading order, nor how runs are found.

Axes: H W rows and columns of pixels, N pieces of ink, S segments.
"""

import itertools
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Int

from lightseek.blocks.sheet import Components, median, quantile

_MAX_ODDITIES, _MAX_BESIDE_TEXT = 1, 3
"""Ways in which a run may differ from any text, alone and level with text."""
_MAX_INKED = 0.55
"""Share of ink in an area of text, at most."""
_TINY, _TINY_PX = 0.55, 7
"""Height of the smallest capitals over those of most text, and in pixels of the page."""
_TOO_TALL = 2.3
"""Height of a run of text over that of its capitals, at most."""
_BETWEEN = 7
"""Widest space between parts of one picture, in heights of a letter."""
_TURNED_LETTERS, _TURNED_GAP, _TURNED_SPACE = 5, 0.25, 0.8
"""Letters of text that runs up or down, at least; their usual and their widest distance, in heights
of a letter."""
_TITLE = 2.2
"""Letters of a title page over those of most text."""
_AROUND = 0.8
"""Share of a sheet both ways, from which a piece lies around the page."""
_LEADERS = 8
"""Points in a row, at least, that lead from an entry to its page."""
_LONG_RUN = 12
"""Letters of a run that is as long as a few words."""
_MAX_SLOPE = 0.1
"""Pixels that it rises or falls a pixel across, at most."""
BESIDE = 8
"""Farthest that one run is beside another, in heights of a letter."""
MAX_UNEVEN = 2.5
"""Letters of one run over those of another that belongs to it, at most."""


@dataclass(slots=True)
class Segment:
    """Letters side by side on one line, in pixels of the sheet."""

    left: int
    top: int
    right: int
    bottom: int
    letter: float
    """Typical height of its letters."""
    small: float
    """Height of its small letters."""
    tall: float
    """Height of its capitals and ascenders."""
    middle: float
    """Height on the sheet at which the middles of its letters stand."""
    base: float
    """Height on the sheet of its baseline."""
    pieces: list[int]
    """Numbers of its components."""
    initial: int | None = None
    """Number of the component that is the drop capital before it."""
    moved: float = 0.0
    """How many pixels higher it is said to stand than it does, to be level with its line."""

    @property
    def width(self) -> int:
        """Pixels across."""
        return self.right - self.left

    @property
    def height(self) -> int:
        """Pixels down."""
        return self.bottom - self.top

    def take(self, other: "Segment") -> None:
        """Grow by the ink of another; the own letters stay typical if they are more."""
        if other.width > self.width:
            self.letter, self.small, self.tall = other.letter, other.small, other.tall
            self.middle, self.base, self.moved = other.middle, other.base, other.moved
        self.left, self.top = min(self.left, other.left), min(self.top, other.top)
        self.right, self.bottom = max(self.right, other.right), max(self.bottom, other.bottom)
        self.pieces += other.pieces


def segment_of(pieces: Components, members: Int[np.ndarray, " M"]) -> Segment:
    """Some pieces as one run."""
    boxes = pieces.boxes[members]
    heights = boxes[:, 3] - boxes[:, 1]
    return Segment(
        left=int(boxes[:, 0].min()),
        top=int(boxes[:, 1].min()),
        right=int(boxes[:, 2].max()),
        bottom=int(boxes[:, 3].max()),
        letter=median(heights),
        small=quantile(heights, 0.25),
        tall=quantile(heights, 0.85),
        middle=median(boxes[:, 1] + boxes[:, 3]) / 2,
        base=median(boxes[:, 3]),
        pieces=members.tolist(),
    )


def body_size(segments: list[Segment]) -> float:
    """Height of the capitals of most text on the page."""
    if not segments:
        return 0.0
    ordered = sorted(segments, key=lambda s: s.tall)
    widths = np.cumsum([s.width for s in ordered])
    return ordered[int(np.searchsorted(widths, widths[-1] / 2))].tall


def text_alone(
    segments: list[Segment],
    pieces: Components,
    letter: float,
    *,
    pictures: Bool[np.ndarray, " N"],
    at_edge: Bool[np.ndarray, " N"],
    page_px: float,
) -> list[Segment]:
    """Leave out the runs that are no text, or not all of it.

    Args:
        segments: All runs of a sheet.
        pieces: Its ink.
        letter: Typical height of a letter.
        pictures: Pieces too large for letters.
        at_edge: Pieces at the upper or lower edge of the page.
        page_px: Pixels of the page in one of the sheet.
    """
    for segment in segments:
        _shed_drawn(segment, pieces)
    whole = _without_cut_lines(_without_turned(segments, letter), pieces, at_edge)
    return _without_tiny(_without_odd(whole, pieces, letter, pictures), page_px)


def _shed_drawn(segment: Segment, pieces: Components) -> None:
    """Take what is drawn beside a long run out of it: pieces far taller than its letters."""
    if len(segment.pieces) < _LONG_RUN or segment.height <= _TOO_TALL * segment.tall:
        return
    own = np.array(segment.pieces)
    letters = own[pieces.height[own] <= _TOO_TALL * segment.tall]
    if len(letters) >= _LONG_RUN:
        boxes = pieces.boxes[letters]
        segment.left, segment.top = boxes[:, :2].min(axis=0).tolist()
        segment.right, segment.bottom = boxes[:, 2:].max(axis=0).tolist()
        segment.pieces = letters.tolist()


def _without_odd(
    segments: list[Segment], pieces: Components, letter: float, pictures: Bool[np.ndarray, " N"]
) -> list[Segment]:
    """Leave out what differs from text in too many ways.

    Broken letters beside text stay; in pictures only a run of letters does that has no flaw.
    """
    flaws = [_oddities(s, pieces, letter) for s in segments]
    plain = [s for s, n in zip(segments, flaws, strict=True) if n <= _MAX_ODDITIES]
    strange = [
        s
        for s, n in zip(segments, flaws, strict=True)
        if n >= _MAX_BESIDE_TEXT and not _is_beside(s, plain)
    ]
    covered = _picture_cells(pieces, letter, pictures, strange)
    hidden = [_share(covered, s, letter) > 0.6 for s in segments]
    odd = [
        n + (1 + _MAX_BESIDE_TEXT) * (hides and (n > 0 or len(s.pieces) < 4))
        for s, n, hides in zip(segments, flaws, hidden, strict=True)
    ]
    sure = [s for s, n in zip(segments, odd, strict=True) if n <= _MAX_ODDITIES]
    return [
        s
        for s, n in zip(segments, odd, strict=True)
        if n <= _MAX_ODDITIES or (n <= _MAX_BESIDE_TEXT and _is_beside(s, sure))
    ]


def _is_beside(segment: Segment, others: list[Segment]) -> bool:
    """Whether a run goes on a line of letters of its size; a long one may rise or fall to it."""
    off = 0.8 if len(segment.pieces) >= _LONG_RUN else 0.5
    return any(
        abs(s.middle - segment.middle) < off * s.letter
        and max(segment.left - s.right, s.left - segment.right) < BESIDE * s.letter
        and 0.6 < segment.letter / s.letter < 1.6
        for s in others
    )


def _picture_cells(
    pieces: Components,
    letter: float,
    pictures: Bool[np.ndarray, " N"],
    strange: list[Segment],
) -> Bool[np.ndarray, "h w"]:
    """Where solid pictures are, other places with more ink than text has, and what lies between.

    Frames and line drawings hold little ink for their size; what is written in them stays.

    Returns:
        A map with cells as large as letters.
    """
    rows, cols = (1 + int(side / letter) for side in pieces.labels.shape)
    ink = (pieces.labels > 0).astype(np.float32)
    share = cv2.resize(ink, (cols, rows), interpolation=cv2.INTER_AREA)
    share = cv2.boxFilter(share, -1, (5, 5), borderType=cv2.BORDER_CONSTANT)
    covered = (share > _MAX_INKED).astype(np.uint8)
    solid = pictures & (pieces.area > 0.12 * pieces.width * pieces.height)
    # what lies around a page is no picture on it, though its box is
    height, width = pieces.labels.shape
    solid &= (pieces.width < _AROUND * width) | (pieces.height < _AROUND * height)
    boxes = pieces.boxes[solid].tolist() + [(s.left, s.top, s.right, s.bottom) for s in strange]
    for left, top, right, bottom in (np.array(boxes).reshape(-1, 4) / letter).astype(int):
        covered[top : bottom + 1, left : right + 1] = 1
    kernel = np.ones((_BETWEEN, _BETWEEN), np.uint8)
    return np.asarray(cv2.morphologyEx(covered, cv2.MORPH_CLOSE, kernel) > 0)


def _share(covered: Bool[np.ndarray, "h w"], segment: Segment, letter: float) -> float:
    """How much of a run lies in covered cells."""
    rows = slice(int(segment.top / letter), int(segment.bottom / letter) + 1)
    columns = slice(int(segment.left / letter), int(segment.right / letter) + 1)
    return float(covered[rows, columns].mean())


def _oddities(segment: Segment, pieces: Components, letter: float) -> int:
    """In how many ways a run differs from any text, whatever its face and size.

    Letters stand on one line, are about as high as each other, leave some paper between their
    strokes but not much, and a cut through the middle of a line meets a stroke or two a letter.
    """
    boxes, area = pieces.boxes[segment.pieces], pieces.area[segment.pieces]
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    large = height > 0.5 * segment.letter
    count = int(large.sum())
    if count <= 1 and segment.letter < 1.6 * letter:  # none is large of a letter in pieces
        return 0
    usual = median(height[large])
    feet = boxes[large, 3] - segment.base
    rise = 0.0
    if count >= _LONG_RUN:  # which may rise or fall
        across = boxes[large, 0] - boxes[large, 0].mean()
        slope = float(across @ feet / max(1.0, across @ across))
        rises = np.clip(slope, -_MAX_SLOPE, _MAX_SLOPE) * across
        rise = float(np.ptp(rises))
        feet = feet - rises
        feet -= median(feet)
    filled = float(area[large].sum() / (width * height)[large].sum())
    half = 0.4 * segment.letter
    rows = slice(max(0, int(segment.middle - half)), int(segment.middle + half) + 1)
    core = pieces.labels[rows, segment.left : segment.right] > 0
    core = core[:, ~_leaders(segment, boxes[~large])]
    across = max(1, core.shape[1])
    inked = float(core.mean()) if core.size else 0.0
    strokes = float((core[:, 1:] & ~core[:, :-1]).sum(axis=1).mean())
    strokes /= across / segment.letter
    is_title = segment.letter > _TITLE * letter and count > 3
    odd = (
        count >= 3 and median(np.abs(feet)) > 0.2 * segment.letter,
        median(np.abs(height[large] - usual)) > 0.3 * usual,
        filled > 0.72,
        inked > 0.72,
        filled < (0.25 if is_title else 0.33) or inked < 0.22,  # either way, of thin letters
        not 0.7 < strokes < 2.3,
        segment.letter > _TITLE * letter,
        float(width[large].sum()) < 0.2 * across,
        segment.height - rise > _TOO_TALL * segment.tall,
    )
    return sum(odd)


def _leaders(segment: Segment, small: Int[np.ndarray, "K 4"]) -> Bool[np.ndarray, " w"]:
    """Columns of a run over which points lead from an entry of the contents to its page."""
    columns = np.zeros(segment.width, bool)
    low = np.abs(small[:, 3] - segment.base) < 0.2 * segment.letter
    points = small[low & (small[:, 2] - small[:, 0] < 0.5 * segment.letter)]
    points = points[np.argsort(points[:, 0])]
    parted = np.flatnonzero(points[1:, 0] - points[:-1, 2] > 1.2 * segment.letter) + 1
    for row in np.split(points, parted):
        if len(row) >= _LEADERS:
            columns[row[0, 0] - segment.left : row[-1, 2] - segment.left] = True
    return columns


def _without_tiny(segments: list[Segment], page_px: float) -> list[Segment]:
    """Leave out what is far smaller than most text and too small to read: pages within pictures."""
    tiny = min(_TINY * body_size(segments), _TINY_PX / page_px)
    return [s for s in segments if s.tall >= tiny]


def _without_cut_lines(
    segments: list[Segment], pieces: Components, at_edge: Bool[np.ndarray, " N"]
) -> list[Segment]:
    """Leave out what the edge of the sheet left of lines above and below.

    A line is cut when it touches the edge and what is left of its height is less than that of the
    lines that do not touch it; the ascenders of a crop that is tight around some lines are whole.
    Of two such lines the lower one counts: the other may be two that were printed over each other.
    """
    lines = levels(segments)
    spans = [_span(line, pieces) for line in lines]
    edge = [np.mean(at_edge[[i for s in line for i in s.pieces]]) > 0.1 for line in lines]
    whole = sorted(span for span, touches in zip(spans, edge, strict=True) if not touches)
    if not whole:
        return segments
    usual = whole[(len(whole) - 1) // 2]
    return [
        segment
        for line, span, touches in zip(lines, spans, edge, strict=True)
        if not touches or span > 0.85 * usual
        for segment in line
    ]


def levels(segments: list[Segment]) -> list[list[Segment]]:
    """Segments that stand level, whatever lies between them."""
    lines: list[list[Segment]] = []
    for segment in sorted(segments, key=lambda s: -s.width):
        level = (
            line
            for line in lines
            if abs(line[0].middle - segment.middle) < 0.6 * line[0].letter < 1.2 * segment.letter
        )
        line = next(level, None)
        if line is None:
            lines.append([segment])
        else:
            line.append(segment)
    return lines


def _span(line: list[Segment], pieces: Components) -> float:
    """From the top of the tallest letters of a line to its baseline, a few outliers aside."""
    boxes = pieces.boxes[[i for segment in line for i in segment.pieces]]
    return quantile(boxes[:, 3], 0.6) - quantile(boxes[:, 1], 0.15)


def _without_turned(segments: list[Segment], letter: float) -> list[Segment]:
    """Leave out text that runs up or down: narrow runs stacked closer than lines ever are."""
    chains: list[list[Segment]] = []
    for segment in sorted(segments, key=lambda s: s.top):
        if segment.width > 2.2 * letter:
            continue
        for chain in chains:
            last = chain[-1]
            across = min(segment.right, last.right) - max(segment.left, last.left)
            if across > 0.3 * segment.width and segment.top - last.bottom < _TURNED_SPACE * letter:
                chain.append(segment)
                break
        else:
            chains.append([segment])
    turned = {id(s) for chain in chains if _is_turned(chain, letter) for s in chain}
    return [s for s in segments if id(s) not in turned]


def _is_turned(chain: list[Segment], letter: float) -> bool:
    gaps = [below.top - above.bottom for above, below in itertools.pairwise(chain)]
    return len(chain) >= _TURNED_LETTERS and float(np.median(gaps)) < _TURNED_GAP * letter
