"""The visual tokens of a page as a NumPy file, with the place of each: to search, plot or probe.

python examples/visual_tokens.py examples/letter.png tokens.npz
"""

import sys

import numpy as np
import torch

from lightseek.blocks import cut_page
from lightseek.config import TOKEN_PX
from lightseek.pages import PageImage, open_pages
from lightseek.reader import to_views
from lightseek.weights import load_model


@torch.inference_mode()
def main(source: str, target: str) -> None:
    """Write `tokens`, a row each, and `places`, their middles in pixels of the page."""
    model, _ = load_model("nano", device=torch.device("cpu"), dtype=torch.float32)
    tokens, places = [], []
    [page] = open_pages(source)
    assert isinstance(page, PageImage), page.reason
    for block in cut_page(page.image):
        for line in block.lines:
            for strip in line.strips:
                views = to_views(torch.from_numpy(strip.image)[None])
                found = model.encoder(views).tokens[0].flatten(0, 1)
                middles = TOKEN_PX * (np.arange(len(found)) + 0.5)
                spots = np.stack([middles, np.full(len(found), strip.image.shape[0] / 2)])
                tokens.append(found.numpy())
                places.append((strip.to_page[:, :2] @ spots).T + strip.to_page[:, 2])
    np.savez(target, tokens=np.concatenate(tokens), places=np.concatenate(places))
    print(f"{sum(map(len, tokens))} visual tokens of {tokens[0].shape[1]} numbers")


if __name__ == "__main__":
    main(*sys.argv[1:])
