"""What this machine can do at best: multiply matrices, and read memory."""

import sys
import time
from collections.abc import Callable

import torch

from lightseek.eval.report import Machine

CPU_SIDE, GPU_SIDE = 2048, 8192
"""Of the matrices that are multiplied: a GPU is fast where there is much to do."""
BYTES = 2**29
"""Read from memory: more than any cache holds."""


def best_seconds(work: Callable[[], object], *, times: int) -> float:
    """The shortest of several runs: what disturbs one only makes it longer."""
    seconds = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def matrix_rate(dtype: torch.dtype, device: torch.device) -> float:
    """Floating point operations a second in a product of large matrices."""
    side = CPU_SIDE if device.type == "cpu" else GPU_SIDE
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    return 2 * side**3 / best_seconds(lambda: (a @ b).flatten()[0].item(), times=6)


def read_rate(device: torch.device) -> float:
    """Bytes a second that are read when nothing else is done."""
    memory = torch.ones(BYTES // 4, device=device)
    return BYTES / best_seconds(lambda: memory.sum().item(), times=6)


def peak_memory(device: torch.device) -> int | None:
    """Most bytes that this process has taken so far: of a GPU, or of memory with mapped files.

    None where the system does not say, as Windows.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def processor(device: torch.device) -> str:
    """Name of the processor or of the GPU, and what speeds up its matrix products."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    name = Machine.here().cpu
    if torch.cpu._is_amx_tile_supported():
        return f"{name} (amx)"
    return f"{name} (avx512_bf16)" if torch.cpu._is_avx512_bf16_supported() else name
