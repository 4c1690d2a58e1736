"""What a frozen encoder sees of pages, kept on disk and read in the place of images.

Kept are the features before the projector, which may learn. Only for modes of one view a page.

Axes: Y X pixels of a view.
"""

from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from lightseek.data.dataset import Pairs
from lightseek.errors import UsageError
from lightseek.model import LightSeekOCR
from lightseek.reader import to_colour_views
from lightseek.train.features import FeatureKey, Features, build_features, hash_encoder
from lightseek.train.pages.batch import FUSED
from lightseek.train.pages.report import seeing
from lightseek.views import Mode, make_views

PROJECTOR = "projector."


class PageViews:
    """The page view of each pair, made when it is asked for."""

    def __init__(self, pairs: Pairs, mode: Mode) -> None:
        self._pairs, self._mode = pairs, mode

    def __len__(self) -> int:
        """Number of pages."""
        return len(self._pairs)

    def __getitem__(self, index: int) -> Float[Tensor, "3 Y X"]:
        """The view of a page, as the encoder takes it."""
        views = make_views(self._pairs[index].image, self._mode)
        return to_colour_views([views.page.image])[0]


def features_of(
    folder: Path, model: LightSeekOCR, pairs: Pairs, mode: Mode, *, silent: bool
) -> Features:
    """Read what is there, and compute the rest.

    Args:
        folder: Holds the features, or gets them.
        model: Its encoder is frozen but for the projector.
        pairs: The pages.
        mode: How they are looked at.
        silent: Whether no bar is shown.

    Raises:
        UsageError: If the encoder learns, or a page is more than one view.
        DataError: If the folder holds features of something else.
    """
    encoder = model.encoder
    learning = [n for n, p in encoder.named_parameters() if p.requires_grad]
    if any(not name.startswith(PROJECTOR) for name in learning):
        raise UsageError(
            "pages.features are of an encoder that is frozen: freeze encoder.sam, "
            "encoder.compressor and encoder.clip, or leave the key out"
        )
    if mode.tile_px is not None:
        raise UsageError(
            f"mode {mode.name} has tiles, of which no features are kept: leave "
            "pages.features out, or choose a mode without tiles"
        )
    tensors = encoder.state_dict().items()
    key = FeatureKey(
        encoder=hash_encoder(model.config, (t for t in tensors if not t[0].startswith(PROJECTOR))),
        preprocessing=f"pages in mode {mode.name}, {mode.page_px} px",
        data=pairs.fingerprint,
        names=(FUSED,),
        rows=len(pairs),
    )
    with seeing(len(pairs), silent=silent) as tell:
        return build_features(folder, encoder, PageViews(pairs, mode), key, on_row=tell)
