import pytest
import torch
import torch.nn.functional as F

from lightseek.model import LightSeekOCR
from lightseek.tokenizer import Tokenizer
from lightseek.train.batch import IGNORED
from lightseek.train.next_token import next_token_loss, side_by_side

TEXTS = ("ab", "", "hello")


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def test_texts_of_any_length_lie_side_by_side(tiny_tokenizer: Tokenizer) -> None:
    t = tiny_tokenizer
    ids, targets = side_by_side([t.encode(text) for text in TEXTS], t)
    assert ids.tolist()[0] == [t.bos_id, t.ids["a"], t.ids["b"], t.pad_id, t.pad_id, t.pad_id]
    assert targets.tolist()[0] == [t.ids["a"], t.ids["b"], t.eos_id, *[IGNORED] * 3]
    assert targets.tolist()[1] == [t.eos_id, *[IGNORED] * 5]
    assert IGNORED not in targets[2]


@torch.inference_mode()
def test_the_loss_is_that_of_each_text_by_itself(
    tiny_base_model: LightSeekOCR, tiny_tokenizer: Tokenizer
) -> None:
    """Neither padding nor visual tokens add to it."""
    visual = torch.randn(3, 8, 32)
    texts = [tiny_tokenizer.encode(text) for text in TEXTS]
    found = next_token_loss(tiny_base_model, visual, *side_by_side(texts, tiny_tokenizer))
    total = torch.zeros(())
    for row, text in enumerate(texts):
        ids = torch.tensor([[tiny_tokenizer.bos_id, *text]])
        scores = tiny_base_model.predict(tiny_base_model(visual[row][None], ids)).what[0]
        total += F.cross_entropy(
            scores, torch.tensor([*text, tiny_tokenizer.eos_id]), reduction="sum"
        )
    torch.testing.assert_close(found.total, total)
    assert found.asked == sum(len(text) + 1 for text in texts)


@torch.inference_mode()
def test_padding_teaches_nothing(tiny_base_model: LightSeekOCR, tiny_tokenizer: Tokenizer) -> None:
    texts = [tiny_tokenizer.encode(text) for text in TEXTS]
    ids, targets = side_by_side(texts, tiny_tokenizer)
    visual = torch.randn(3, 8, 32)
    total = next_token_loss(tiny_base_model, visual, ids, targets).total
    longer = F.pad(ids, (0, 4), value=7), F.pad(targets, (0, 4), value=IGNORED)
    torch.testing.assert_close(next_token_loss(tiny_base_model, visual, *longer).total, total)
