"""What malloc does with the memory of tensors that are no longer needed."""

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # glibc's names in malloc.h


def keep_freed_memory() -> bool:
    """Let malloc keep what is freed for the tensors that follow; for the whole process, until it
    ends.

    Otherwise every large tensor is made of new pages, which the system clears one by one. Returns
    whether this malloc can: glibc's.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):  # another C library
        return False
    return bool(mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, -1))
