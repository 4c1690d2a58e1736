"""Pictures on a page, cut out of it: for documents whose reader said where they are."""

import os
from pathlib import Path
from urllib.parse import quote

from PIL import Image

from lightseek.document import Document, Page, Region
from lightseek.grounding import is_figure
from lightseek.pages import DEFAULT_DPI, PageImage, Source, open_pages


def crop_figures(
    document: Document,
    source: Source,
    target: Path,
    *,
    beside: Path,
    dpi: int = DEFAULT_DPI,
    password: str | None = None,
) -> Document:
    """Save every figure as an image of its own, and show it in the Markdown.

    Args:
        document: What was read.
        source: What it was read from; its pages with figures are opened once more.
        target: Where to save, without suffix: page, number and `.png` are added.
        beside: Folder of the Markdown, from which it points at the images.
        dpi: As it was read.
        password: As it was read.
    """
    pages = {page.number: page for page in document.pages}
    illustrated = [n for n, page in pages.items() if any(map(_is_figure, page.regions))]
    if not illustrated:
        return document
    chosen = ",".join(map(str, illustrated))
    for opened in open_pages(source, dpi=dpi, pages=chosen, password=password):
        if isinstance(opened, PageImage):
            page = pages[opened.number]
            pages[opened.number] = _crop(page, opened.image, target, beside)
    return document.model_copy(update={"pages": tuple(pages.values())})


def _is_figure(region: Region) -> bool:
    return is_figure(region.label) and region.box.width >= 1 and region.box.height >= 1


def _crop(page: Page, image: Image.Image, target: Path, beside: Path) -> Page:
    regions: list[Region] = []
    for number, region in enumerate(page.regions, start=1):
        if not _is_figure(region):
            regions.append(region)
            continue
        path = target.with_name(f"{target.name}-{page.number}-{number}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        left, top, right, bottom = map(round, region.box)
        image.crop((left, top, right, bottom)).save(path)
        shown = _link(region.label, path, beside, region.written)
        regions.append(region.model_copy(update={"written": shown}))
    return page.model_copy(update={"regions": tuple(regions)})


def _link(label: str, path: Path, beside: Path, text: str | None) -> str:
    link = f"![{label}]({quote(Path(os.path.relpath(path, beside)).as_posix())})"
    return f"{link}\n\n{text}" if text else link
