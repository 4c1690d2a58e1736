"""Model folders from the Hugging Face hub, through its own client, cache and offline switch."""

import errno
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lightseek.errors import ModelError
from lightseek.shards import Header

ONLINE = "go online and unset HF_HUB_OFFLINE, or give a folder"
"""What cures that a model is not in the cache."""
_NOT_KEPT = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)
"""Errors of a cache, rather than of the network."""


def fetch(hub_id: str, files: Sequence[str]) -> Path:
    """The folder of a hub repository, downloaded unless it is in the cache.

    Args:
        hub_id: Such as `deepseek-ai/DeepSeek-OCR`.
        files: Names and patterns of the files that are wanted.

    Raises:
        ModelError: If it cannot be had.
    """
    from huggingface_hub import snapshot_download

    with _explained(hub_id):
        return Path(snapshot_download(hub_id, allow_patterns=list(files)))


def fetch_headers(hub_id: str) -> dict[str, Header]:
    """What the weights of a repository say of each of their tensors; no more of them is downloaded.

    Args:
        hub_id: As for `fetch`.

    Raises:
        ModelError: If it cannot be had.
    """
    from huggingface_hub import get_safetensors_metadata

    with _explained(hub_id):
        files = get_safetensors_metadata(hub_id).files_metadata.values()
    tensors = [pair for file in files for pair in file.tensors.items()]
    return {name: Header(tuple(tensor.shape), tensor.dtype) for name, tensor in tensors}


@contextmanager
def _explained(hub_id: str) -> Iterator[None]:
    """Say of what the client raises how it is cured."""
    from huggingface_hub.constants import HF_HUB_CACHE
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    try:
        yield
    except GatedRepoError as error:
        cure = "accept its terms on the hub and log in with `hf auth login`"
        raise ModelError(f"{hub_id} is not open to everybody: {cure}") from error
    except RepositoryNotFoundError as error:
        raise ModelError(f"the hub has no model {hub_id}: check its name, or log in") from error
    except Exception as error:  # besides its own, the client raises those of its HTTP library
        if isinstance(error, OSError) and error.errno in _NOT_KEPT:
            cure = f"in {HF_HUB_CACHE}: make room there, or let HF_HOME name another folder"
            raise ModelError(f"{hub_id} cannot be kept {cure} ({error})") from error
        reason = " ".join(str(error).split())[:200]
        raise ModelError(
            f"{hub_id} is not cached and cannot be fetched: {ONLINE} ({reason})"
        ) from error
