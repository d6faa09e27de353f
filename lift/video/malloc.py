"""Memory of freed tensors, reused by malloc instead of returned to the system."""

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # glibc's names in malloc.h


def keep_freed_memory() -> bool:
    """Let malloc reuse freed memory for later tensors, in the whole process, until it ends.

    Otherwise every large tensor gets new pages, which the system has to clear.

    Returns:
        Whether this is supported; it is by glibc.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):  # another C library
        return False
    return bool(mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, -1))
