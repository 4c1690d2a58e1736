"""A model of your own sizes, and a few steps of learning to read four lines: change it from here.

python examples/own_model.py 20
"""

import sys
from dataclasses import replace
from typing import Any

import torch
from PIL import Image, ImageDraw, ImageFont

from lightseek import LightSeekOCR
from lightseek.config import ModelConfig, Rows
from lightseek.presets import preset
from lightseek.reader import to_colour_views
from lightseek.tokenizer import Tokenizer, character_tokenizer
from lightseek.train.next_token import next_token_loss, side_by_side

LINES = ("the quick fox", "jumps over", "a lazy dog 42", "near Exmoor")


def own_config(tokenizer: Tokenizer) -> ModelConfig:
    """LightSeek's own architecture, small: two maps of visual tokens, looked at from beside."""
    base = preset("lightseek-base")
    small: dict[str, Any] = {"dim": 64, "depth": 2, "heads": 4, "mlp_dim": 128}
    windows: dict[str, Any] = {
        "window": Rows(rows=4, cols=4),
        "global_blocks": (1,),
        "neck_dim": 32,
    }
    return replace(
        base,
        name="own",
        sam=replace(base.sam, **small, **windows),
        compressor=replace(base.compressor, hidden_dim=48, dim=64),
        clip=replace(base.clip, **small),
        decoder=replace(base.decoder, vocab_size=len(tokenizer), **small),
    )


def draw(text: str) -> Image.Image:
    """A line of text on a view."""
    image = Image.new("RGB", (256, 64), "white")
    ImageDraw.Draw(image).text((8, 12), text, "black", ImageFont.load_default(30))
    return image


def main(steps: str) -> None:
    """Train, and print the loss of every fifth step."""
    torch.manual_seed(0)
    tokenizer = character_tokenizer()
    model = LightSeekOCR(own_config(tokenizer))
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters")
    torch.nn.init.normal_(model.embedding.weight, std=0.1)
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    views = to_colour_views([draw(line) for line in LINES])
    ids, targets = side_by_side([tokenizer.encode(line) for line in LINES], tokenizer)
    for step in range(int(steps)):
        part = next_token_loss(model, model.visual_tokens(views), ids, targets)
        loss = part.total / part.asked
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch has no types for it
        optimiser.step()
        if step % 5 == 0:
            print(f"step {step:3}  loss {loss.item():.2f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
