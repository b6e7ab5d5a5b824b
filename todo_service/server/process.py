"""Settings of the server's process: heap and open files."""

from __future__ import annotations

import ctypes
import gc
import resource
from contextlib import suppress
from typing import Final

_M_MMAP_THRESHOLD: Final = -3
_MMAP_THRESHOLD_BYTES: Final = 128 * 1024
_YOUNG_GENERATIONS: Final = 1
_ALL_GENERATIONS: Final = 2


def fix_mmap_threshold() -> None:
    """Allocate every large block with mmap, so that freeing it returns its memory to the system. Needs glibc.

    By default, glibc raises the threshold to the size of the largest freed block. After one large request, it allocates
    the next large blocks on the heap, where small blocks above them keep their memory from being returned.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _MMAP_THRESHOLD_BYTES)


def release_memory(*, idle: bool) -> None:
    """Free the reference cycles of errors, and return free memory on the heap to the system. Needs glibc.

    A rejected request may leave a cycle of an exception and its traceback, which refers to the body. An idle process
    allocates too little for the garbage collector to start by itself.

    Args:
        idle: Whether no request is in flight. A collection of the oldest generation would delay requests by 10 ms.
    """
    gc.collect(_ALL_GENERATIONS if idle else _YOUNG_GENERATIONS)
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def raise_open_file_limit() -> None:
    """Raise the soft limit of open files, which bounds the number of connections, to the hard limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # macOS may refuse its own hard limit
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
