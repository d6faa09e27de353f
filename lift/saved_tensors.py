"""Count the activation memory that autograd saves for backward."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch


@contextmanager
def on_saved_storage(
    saved: Callable[[int], None], exclude: Iterable[torch.Tensor] = ()
) -> Iterator[None]:
    """Call `saved(bytes)` for every storage that autograd saves for backward inside the context.

    Each storage counts once, however many tensors share it. All of them stay alive until the
    context ends, so that no later storage has the address of an earlier one.

    Args:
        saved: called with the size of a storage when its first tensor is saved.
        exclude: tensors whose storages do not count, such as the weights.
    """
    excluded = {tensor.untyped_storage()._cdata for tensor in exclude}
    storages: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in excluded and storage._cdata not in storages:
            storages[storage._cdata] = storage
            saved(storage.nbytes())
        return tensor

    try:
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            yield
    finally:
        storages.clear()


def saved_bytes(run: Callable, exclude: Iterable[torch.Tensor] = ()) -> tuple[object, int]:
    """The result of `run()`, and the bytes that autograd saves for its backward."""
    sizes: list[int] = []
    with on_saved_storage(sizes.append, exclude):
        result = run()
    return result, sum(sizes)
