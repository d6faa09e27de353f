"""A disk that fills up."""

import resource
from contextlib import contextmanager


@contextmanager
def largest_file(size):
    """No file may grow beyond `size` bytes: writing fails as it does on a full disk, with an
    OSError.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
