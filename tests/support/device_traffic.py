"""Records copies between host and GPU, and synchronizations, without a GPU.

Inside `device_traffic` tensors hold no data (FakeTensorMode), so those on "cuda" exist on any
machine. Every copy between the devices is recorded, and every wait, with the line of the package
that caused it:

    with device_traffic() as found:
        model = dataless(model)                         # of lift.profiling.dataless
        model(torch.empty(1, 3, 64, 64, device="cuda"))
    assert not found.uploads and not found.downloads and not found.waits

A value that a program asks for (`item`, `tolist`, `bool`) is 1, since there is none.
"""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lift import kernels
from lift.errors import LiftError
from lift.profiling.dataless import GPU, cuda_guard

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("lift/", "kernels/")  # where a place is looked for
MEMORY = 80 * 10**9  # bytes, all of them free
COPIES = ("_to_copy", "copy_", "_foreach_copy_", "_foreach_copy")
VALUES = ("_local_scalar_dense", "is_nonzero", "equal", "allclose")  # answer with a Python value
SIZES = ("nonzero", "masked_select", "_unique2", "unique_dim")  # as large as values say


@dataclass(frozen=True)
class Record:
    """One copy or one wait.

    Attributes:
        op: the operation, such as "_to_copy", "item" or "index".
        place: the innermost line of the package, such as "lift/video/gaps.py:39"; "" for none.
        size: bytes copied.
        pinned: whether the host's side is known to be page-locked memory.
        blocking: whether the host waits for the copy, or a wait for the device.
    """

    op: str
    place: str
    size: int = 0
    pinned: bool = False
    blocking: bool = True


@dataclass
class Traffic:
    """The records of `device_traffic`, in order.

    Attributes:
        uploads, downloads: copies from host to device and from device to host.
        waits: values, or sizes that depend on values, that the host asked of the device.
        synchronizations: waits for the device, a stream or an event by their own methods.
    """

    uploads: list[Record] = field(default_factory=list)
    downloads: list[Record] = field(default_factory=list)
    waits: list[Record] = field(default_factory=list)
    synchronizations: list[Record] = field(default_factory=list)

    def clear(self) -> None:
        for records in (self.uploads, self.downloads, self.waits, self.synchronizations):
            records.clear()


@contextmanager
def device_traffic() -> Iterator[Traffic]:
    """Record all traffic of this thread with "cuda" inside the block; tensors there hold no data.

    Autocast on "cuda", streams, events and pinned memory may be used as on a GPU; the fused
    kernels are the ones selected. Results whose size depends on values have the largest size;
    `backward` gives gradients without computing them.
    """
    found = Traffic()
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        try:
            stack.enter_context(cuda_guard())
        except LiftError as error:
            pytest.skip(str(error))
        watch = _Watch(found)
        _replace_methods(patch, watch)
        _replace_streams(patch, found)
        patch.setattr("torch.cuda.amp.common.amp_definitely_not_available", lambda: False)
        patch.setattr(torch.cuda, "is_bf16_supported", lambda *arguments, **keywords: True)
        patch.setattr(torch.cuda, "mem_get_info", lambda device: (MEMORY, MEMORY))
        with kernels.dispatch.assume_available(), FakeTensorMode(allow_non_fake_inputs=True), watch:
            yield found


# -- what is recorded ----------------------------------------------------------------------------


class _Watch(TorchDispatchMode):
    def __init__(self, found: Traffic):
        super().__init__()
        self.found = found
        self.pinned: dict[int, object] = {}  # storages by their address, which live on

    def pin(self, x: torch.Tensor) -> torch.Tensor:
        storage = x.untyped_storage()
        self.pinned[storage._cdata] = storage
        return x

    def is_pinned(self, x: torch.Tensor) -> bool:
        return not isinstance(x, FakeTensor) or x.untyped_storage()._cdata in self.pinned

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        keywords = keywords or {}
        name = function._schema.name.split("::")[1]
        given = _tensors((arguments, keywords))
        masks = (
            name.startswith(("index", "_index"))
            and len(arguments) > 1
            and [x for x in _tensors(arguments[1]) if x.dtype in (torch.bool, torch.uint8)]
        )
        if name in VALUES and any(_on_gpu(x) for x in given):
            self.found.waits.append(Record(name, place()))
        if name == "_local_scalar_dense" and isinstance(arguments[0], FakeTensor):
            return _one(arguments[0])
        if name in VALUES and any(isinstance(x, FakeTensor) for x in given):
            return True
        if name in SIZES or name == "repeat_interleave" and keywords.get("output_size") is None:
            if any(_on_gpu(x) for x in given):
                self.found.waits.append(Record(name, place()))
            if name in ("nonzero", "masked_select"):
                return _largest(name, *arguments)
        if masks and _on_gpu(arguments[0]):
            filled = name.startswith(("index_put", "_index_put")) and arguments[2].numel() == 1
            if not filled:  # one number is put there without a wait
                self.found.waits.append(Record(name, place()))
            if name == "index":
                return _all_of(*arguments)
            return arguments[0]
        out = function(*arguments, **keywords)
        if name in COPIES:
            self._copied(name, function, arguments, keywords, out)
        elif name == "_pin_memory" or keywords.get("pin_memory"):
            self.pin(out)
        elif name.startswith(("index", "_index")) and any(_on_gpu(x) for x in given):
            for x in given:  # indices or values from the host
                if not _on_gpu(x) and x.ndim:
                    self._record(name, x, True, False)
        return out

    def _copied(self, name, function, arguments, keywords, out) -> None:
        names = [argument.name for argument in function._schema.arguments]
        called = {**dict(zip(names, arguments, strict=False)), **keywords}
        not_waiting = bool(called.get("non_blocking"))
        if name == "_to_copy":
            pairs = [(arguments[0], out)]
            if not_waiting and _on_gpu(arguments[0]) and not _on_gpu(out):
                self.pin(out)  # torch chooses such memory here
        else:
            into, new = arguments[0], arguments[1]
            pairs = [(new, into)] if isinstance(into, torch.Tensor) else zip(new, into, strict=True)
        for source, target in pairs:
            if _on_gpu(source) != _on_gpu(target):
                host = target if _on_gpu(source) else source
                self._record(name, host, not _on_gpu(source), not_waiting)

    def _record(self, name: str, host: torch.Tensor, up: bool, not_waiting: bool) -> None:
        pinned = self.is_pinned(host) if isinstance(host, FakeTensor) else False
        size = host.numel() * host.element_size()
        record = Record(name, place(), size, pinned, blocking=not (not_waiting and pinned))
        (self.found.uploads if up else self.found.downloads).append(record)


def place() -> str:
    """The innermost line of the package that runs now."""
    frame = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(f"{ROOT}/"):
            file = file.removeprefix(f"{ROOT}/")
            if file.startswith(PACKAGES):
                return f"{file}:{frame.f_lineno}"
        frame = frame.f_back
    return ""


def _tensors(value) -> list[torch.Tensor]:
    return [x for x in tree_leaves(value) if isinstance(x, torch.Tensor)]


def _on_gpu(x) -> bool:
    return isinstance(x, torch.Tensor) and x.device.type == "cuda"


def _one(x: torch.Tensor) -> bool | int | float:
    return True if x.dtype == torch.bool else 1.0 if x.is_floating_point() else 1


def _largest(name: str, x: torch.Tensor, *others) -> torch.Tensor:
    if name == "nonzero":
        return torch.empty(x.numel(), x.ndim, dtype=torch.int64, device=x.device)
    return torch.empty(x.numel(), dtype=x.dtype, device=x.device)


def _all_of(x: torch.Tensor, indices) -> torch.Tensor:
    """x[mask] as if the mask were True everywhere; the mask is the first index."""
    (mask,) = [i for i in indices if i is not None]
    return torch.empty(mask.numel(), *x.shape[mask.ndim :], dtype=x.dtype, device=x.device)


# -- what data-less tensors on "cuda" need where there is no GPU --------------------------------


def _replace_methods(patch: pytest.MonkeyPatch, watch: _Watch) -> None:
    """Methods that need a GPU, memory that is not there, or page-locked memory."""
    plain = {
        name: getattr(torch.Tensor, name) for name in ("to", "item", "tolist", "numpy", "backward")
    }

    def to(self, *arguments, **keywords):
        arguments = [_numbered(a) for a in arguments]
        keywords = {name: _numbered(a) for name, a in keywords.items()}
        return plain["to"](self, *arguments, **keywords)

    def cuda(self, device=GPU, non_blocking=False):
        return to(self, GPU, non_blocking=non_blocking)

    def asked(name):
        def method(self):
            if not isinstance(self, FakeTensor):
                return plain[name](self)
            if _on_gpu(self):
                watch.found.waits.append(Record(name, place()))
            return np.full(tuple(self.shape), _one(self)).tolist()

        return method

    def numpy(self, **keywords):
        if not isinstance(self, FakeTensor):
            return plain["numpy"](self, **keywords)
        if _on_gpu(self):
            raise TypeError("can't convert cuda tensor to numpy; use Tensor.cpu() first")
        return np.zeros(tuple(self.shape), str(self.dtype).removeprefix("torch."))

    def backward(self, *arguments, **keywords):
        if _on_gpu(self):
            return _give_gradients(self)
        return plain["backward"](self, *arguments, **keywords)

    def pin_memory(self, *arguments):
        return watch.pin(torch.empty_like(self).copy_(self))

    def is_pinned(self, *arguments):
        return isinstance(self, FakeTensor) and watch.is_pinned(self)

    replaced = {
        "to": to,
        "cuda": cuda,
        "item": asked("item"),
        "tolist": asked("tolist"),
        "numpy": numpy,
        "backward": backward,
        "pin_memory": pin_memory,
        "is_pinned": is_pinned,
        "record_stream": lambda self, stream: None,
    }
    for name, method in replaced.items():
        patch.setattr(torch.Tensor, name, method)
        if name in vars(FakeTensor):
            patch.setattr(FakeTensor, name, method)
    patch.setattr(nn.Module, "_apply", _apply)


def _apply(module: nn.Module, change, recurse: bool = True) -> nn.Module:
    """As nn.Module's, which cannot write into parameters without data: it replaces them."""
    for child in module.children() if recurse else ():
        child._apply(change)
    for parts in (module._parameters, module._buffers):
        for name, part in parts.items():
            if part is not None:
                new = change(part.detach())
                if parts is module._parameters:
                    new = nn.Parameter(new, part.requires_grad)
                parts[name] = new
    return module


def _numbered(value):
    """ "cuda" with a number, which torch would otherwise ask CUDA for."""
    if isinstance(value, str) and value == "cuda" or value == torch.device("cuda"):
        return GPU
    return value


def _give_gradients(loss: torch.Tensor) -> None:
    """Give every leaf behind a loss a gradient, without running backward, which needs a GPU."""
    seen, waiting = set(), [loss.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        waiting += [following for following, _ in node.next_functions]
        leaf = getattr(node, "variable", None)
        if leaf is not None and leaf.grad is None:
            leaf.grad = torch.empty_like(leaf)


def _replace_streams(patch: pytest.MonkeyPatch, found: Traffic) -> None:
    """Streams and events that only record who waits for them."""

    def waiting(name):
        return lambda *arguments, **keywords: found.synchronizations.append(Record(name, place()))

    class Event:
        def __init__(self, *arguments, **keywords):
            pass

        def record(self, stream=None):
            pass

        def wait(self, stream=None):
            pass

        def query(self):
            return False  # the device may be behind

        def synchronize(self):
            waiting("Event.synchronize")()

    class Stream:
        def __init__(self, *arguments, **keywords):
            self.device = GPU

        def wait_stream(self, other):
            pass

        def wait_event(self, event):
            pass

        def record_event(self, event=None):
            return event or Event()

        def synchronize(self):
            waiting("Stream.synchronize")()

        def query(self):
            return False

    patch.setattr(torch.cuda, "Event", Event)
    patch.setattr(torch.cuda, "Stream", Stream)
    patch.setattr(torch.cuda, "current_stream", Stream)
    patch.setattr(torch.cuda, "default_stream", Stream)
    patch.setattr(torch.cuda, "stream", nullcontext)
    patch.setattr(torch.cuda, "device", nullcontext)
    patch.setattr(torch.cuda, "synchronize", waiting("synchronize"))
