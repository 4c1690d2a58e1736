"""The plot of a study of compression: precision against text tokens a visual token."""

from itertools import cycle
from pathlib import Path
from typing import Any

from lightseek.errors import require
from lightseek.study.published import FOX
from lightseek.study.table import Row, Study

_COLOURS = ("#c2410c", "#1d4ed8", "#047857")
_PAPER, _POOLED = "#8a8a93", "#6d28d9"
_DPI = 110
_NAMES = {"narrower": "letters ever narrower"}


def draw_chart(study: Study, path: Path) -> None:
    """Write the plot as PNG.

    Raises:
        MissingExtraError: If matplotlib is not installed.
    """
    figure = require("matplotlib.figure", extra="study").Figure(figsize=(10, 4.9), dpi=_DPI)
    coarser = study.of("coarser")
    if coarser:
        plot, beside = figure.subplots(1, 2, width_ratios=(1.7, 1), sharey=True)
        _draw_coarser(beside, coarser)
    else:
        plot = figure.subplots()
    _draw_ratio(plot, study)
    # below: where curves fall is for the model to say
    names = plot.get_legend_handles_labels()
    figure.legend(*names, fontsize=8, frameon=False, loc="lower center", ncols=2)
    figure.tight_layout(rect=(0, 0.09, 1, 1))
    figure.savefig(path)


def _draw_ratio(plot: Any, study: Study) -> None:
    _draw_paper(plot)
    for colour, series in zip(cycle(_COLOURS), study.series, strict=False):
        if series == "coarser":
            continue
        rows = sorted(study.of(series), key=lambda row: row.compression)
        ratios = [row.compression for row in rows]
        name = f"{study.model}, {_NAMES.get(series, series)}"
        _line(plot, ratios, [row.precision for row in rows], colour=colour, label=name)
        pooled = [row.pooled_precision for row in rows]
        label = f"text embeddings pooled to as many vectors as {series} has"
        if len(study.series) <= 2:
            label = "text embeddings pooled to as many vectors"
        plot.plot(ratios, _percents(pooled), "s--", color=_POOLED, ms=4, lw=1.2, label=label)
    plot.set_xscale("log")
    ticks = [0.5, 1, 2, 5, 10, 20, 50]
    low, high = plot.get_xlim()
    plot.set_xticks([tick for tick in ticks if low <= tick <= high])
    plot.xaxis.set_major_formatter(lambda value, _: f"{value:g}x")
    plot.xaxis.set_minor_formatter(lambda value, _: "")
    plot.set_xlabel("text tokens a visual token (log scale)")
    plot.set_ylabel("precision over words, %")
    plot.set_ylim(-3, 103)
    plot.set_title("How much text fits in a visual token", loc="left", fontsize=11)
    _finish(plot)


def _draw_paper(plot: Any) -> None:
    name = "DeepSeek-OCR as published, {} visual tokens a page"
    small = [(row.small_compression, row.small_precision) for row in FOX]
    tiny = [(row.tiny_compression, row.tiny_precision) for row in FOX]
    for tokens, marker, points in ((100, "^", small), (64, "v", tiny)):
        ratios, precisions = zip(*points, strict=True)
        label = name.format(tokens)
        plot.plot(
            ratios, _percents(precisions), f"{marker}-", color=_PAPER, ms=5, lw=1.2, label=label
        )


def _draw_coarser(plot: Any, rows: tuple[Row, ...]) -> None:
    dpis = [int(row.setting.split()[0]) for row in rows]
    _line(plot, dpis, [row.precision for row in rows], colour=_COLOURS[0])
    plot.invert_xaxis()
    plot.set_xlabel("dpi of 11 pt type, visual tokens the same")
    plot.set_title("With fewer pixels a letter", loc="left", fontsize=11)
    _finish(plot)


def _line(
    plot: Any,
    x: list[float] | list[int],
    shares: list[float],
    *,
    colour: str,
    label: str | None = None,
) -> None:
    plot.plot(x, _percents(shares), "o-", color=colour, ms=5, lw=2, label=label)


def _percents(shares: Any) -> list[float]:
    return [100 * share for share in shares]


def _finish(plot: Any) -> None:
    plot.grid(alpha=0.25)
    plot.spines[["top", "right"]].set_visible(False)
