"""How much memory can still be had on a device."""

import os
from pathlib import Path

import torch

MEMINFO = Path("/proc/meminfo")
CONTAINER = Path("/sys/fs/cgroup")
"""Where Linux says what a container may use, in either of its two forms."""


def free_memory(device: torch.device) -> int | None:
    """Bytes that can be had on a device; none where it does not say."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    known = [size for size in (_of_machine(), _of_container()) if size is not None]
    return min(known, default=None)


def _of_machine() -> int | None:
    try:
        for line in MEMINFO.read_text(encoding="utf-8").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:  # there is no such file but on Linux
        pass
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _of_container() -> int | None:
    forms = (
        ("memory.max", "memory.current", "memory.stat", ""),
        (
            "memory/memory.limit_in_bytes",
            "memory/memory.usage_in_bytes",
            "memory/memory.stat",
            "total_",
        ),
    )
    for limit, used, stat, prefix in forms:
        try:
            most, now = ((CONTAINER / name).read_text().strip() for name in (limit, used))
            lines = (line.split() for line in (CONTAINER / stat).read_text().splitlines())
        except OSError:
            continue
        # what was read from files, mapped weights too, is given back when others need it
        cached = (f"{prefix}inactive_file", f"{prefix}active_file")
        given_back = sum(int(size) for name, size in lines if name in cached)
        return None if most == "max" else int(most) - int(now) + given_back
    return None
