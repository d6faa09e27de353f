"""The flag: which implementation serves."""
from contextlib import contextmanager


@contextmanager
def use(name):
    yield


def serving(op, *args):
    return "reference"


def reasons(op, *args):
    return {"reference": None}
