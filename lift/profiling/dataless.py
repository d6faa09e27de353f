"""Tensors without data that say they are on a GPU, on a machine that has none.

`FakeTensorMode` gives shapes, dtypes, strides and devices without values. A torch built without
CUDA also needs a device guard for indexing and for autocast's ops; that of "meta" does nothing and
stands for it.
"""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path

import torch
from torch import nn

from lift.errors import LiftError

GPU = torch.device("cuda", 0)
_CUDA, _META = 1, 14  # numbers of these kinds of device in torch


@contextmanager
def cuda_guard() -> Iterator[None]:
    """Install a device guard for "cuda" that does nothing, where torch has none.

    Raises:
        LiftError: a torch for another system than Linux.
    """
    if torch.version.cuda is not None:
        yield
        return
    library = Path(torch.__file__).parent / "lib" / "libc10.so"
    name = "_ZN3c104impl26device_guard_impl_registryE"
    try:
        guards = (ctypes.c_void_p * (_META + 1)).in_dll(ctypes.CDLL(str(library)), name)
    except (OSError, ValueError) as error:
        raise LiftError("tensors without data need a torch for Linux; count there") from error
    before, guards[_CUDA] = guards[_CUDA], guards[_META]
    try:
        yield
    finally:
        guards[_CUDA] = before


def dataless(module: nn.Module, device: torch.device | str = GPU) -> nn.Module:
    """A copy of a module with parameters and buffers on a device, without data.

    To be called inside `FakeTensorMode`.
    """
    names = (*module.named_parameters(), *module.named_buffers())
    memo = {id(part): _empty_like(part, device) for _, part in names}
    return deepcopy(module, memo)


def _empty_like(x: torch.Tensor, device: torch.device | str) -> torch.Tensor:
    new = torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device=device)
    return nn.Parameter(new, x.requires_grad) if isinstance(x, nn.Parameter) else new
