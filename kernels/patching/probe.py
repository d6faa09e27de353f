"""Which convention a function follows, found by calling it on small inputs.

A function is recognized by what it computes: its result and its gradients have to agree with those
of a convention on every probe. Its text and its name do not count.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache

import torch
from torch.utils._python_dispatch import _disable_current_modes

from lift.kernels import dispatch
from lift.kernels.patching.conventions import Convention, known
from lift.kernels.patching.surroundings import caches_restored

TOLERANCE = 1e-5  # of results, for images of unit variance
GRADIENT_TOLERANCE = 1e-4  # of gradients, relative to the largest
SIZES = ((2, 3, 13, 18), (1, 2, 9, 6), (2, 1, 16, 11))
LARGE = (1, 4, 96, 320)  # of the probe that finds limits on sizes, flows and values
LARGE_TOLERANCE = 1e-2  # of its results, relative to values of 300; rounding is larger there
LARGE_SHARE = 0.999  # of its values that have to agree; at masks and in "nearest" rounding decides


class Unrecognized(Exception):
    """A function follows no known convention; the message says why."""


@lru_cache(maxsize=2)
def _probes(dtype: torch.dtype) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Images (B, C, H, W) and flows (B, 2, H, W) of a few pixels, some far outside.

    The last flow moves borders outside by 1e-5 to 0.6 pixels, which shows the threshold of a mask.
    """
    generator = torch.Generator().manual_seed(0)
    found = []
    for i, size in enumerate(SIZES):
        B, _, H, W = size
        image = torch.randn(size, generator=generator)
        flow = torch.randn(B, 2, H, W, generator=generator) * (3 if i else 5)
        if i == len(SIZES) - 1:
            beyond = 0.6 * 10 ** (-4.8 * torch.rand(B, 2, H, W, generator=generator))
            flow[:, 1] = 0.3
            flow[:, 0, :, -1] = beyond[:, 0, :, -1]
            flow[:, 0, :, 0] = -beyond[:, 0, :, 0]
            flow[:, 0, :, 1:-1] = 0.4
            flow[:, 1, 0], flow[:, 0, 0] = -beyond[:, 1, 0], 0.3
            flow[:, 1, -1], flow[:, 0, -1] = beyond[:, 1, -1], -0.3
        found.append((image.to(dtype), flow.to(dtype)))
    return found


@lru_cache(maxsize=2)
def _large_probe(dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """An image with values of -300 to 300 and a flow of up to 200 pixels."""
    generator = torch.Generator().manual_seed(1)
    B, _, H, W = LARGE
    image = torch.rand(LARGE, generator=generator) * 600 - 300
    flow = torch.rand(B, 2, H, W, generator=generator) * 400 - 200
    return image.to(dtype), flow.to(dtype)


def _dtype() -> torch.dtype:
    """Of images and flows: a project that sets the default to double means that."""
    double = torch.get_default_dtype() == torch.float64
    return torch.float64 if double else torch.float32


class Raised(Unrecognized):
    """A function raised an error, as it may for want of another device."""


def devices() -> Iterator[str]:
    """Devices to call a function on: the next one where it raised an error on those before.

    A GPU that nothing has used so far, the function included, is left alone: processes that are
    forked later could not use it.
    """
    yield "cpu"
    if torch.cuda.is_initialized() and not torch.cuda.is_current_stream_capturing():
        yield "cuda"


def recognize(function: Callable, options: dict | None = None) -> tuple[Convention, float]:
    """The convention of a function and the largest difference of its results.

    A function that puts its tensors on a GPU, as RIFE's does where there is one, is called there.

    Args:
        function: called with an image and a flow, in this order or the other.
        options: further arguments by name.

    Raises:
        Unrecognized: it agrees with no convention, does not run on a device that there is, changes
            its arguments, or does not return one tensor; or it cannot be called here, as inside
            torch.func.
    """
    first = None
    try:
        with _undisturbed(function):
            for device in devices():
                try:
                    return _recognize(function, options or {}, device)
                except Raised as reason:
                    first = first or reason
    except Unrecognized:
        raise
    except Exception as error:  # of a backward of its own, or of what surrounds the call
        raise Unrecognized(f"it cannot be examined here: {type(error).__name__}") from None
    assert first is not None  # there is a device
    raise first


def _recognize(function: Callable, options: dict, device: str) -> tuple[Convention, float]:
    reasons: list[Unrecognized] = []
    for flow_last in (False, True):
        for flow_first in (False, True):
            try:
                results = [
                    _run(function, image, flow, flow_last, flow_first, options, device)
                    for image, flow in _probes(_dtype())
                ]
            except Unrecognized as reason:
                reasons.append(reason)
                continue
            for convention in known(flow_last, flow_first):
                difference = _difference(convention, results)
                if difference is not None:
                    _assert_without_limits(function, convention, options, device)
                    return _nearest(convention, difference, results)
            reasons.insert(0, Unrecognized("it agrees with no known convention"))
    raise reasons[0]


def _assert_without_limits(
    function: Callable, convention: Convention, options: dict, device: str
) -> None:
    """Raise `Unrecognized` where a large image, large values or far flows are treated otherwise."""
    image, flow = _large_probe(_dtype())
    if convention.flow_last:
        flow = flow.permute(0, 2, 3, 1).contiguous()
    given = image.to(device, copy=True), flow.to(device, copy=True)  # it may change them
    try:
        with torch.no_grad():
            with torch.device(device):
                out = function(*(given[::-1] if convention.flow_first else given), **options)
            difference = (convention(image, flow) - out.cpu()).abs()
    except Exception as error:  # as above
        raise Unrecognized(f"it raised {type(error).__name__} for an image of {LARGE}") from None
    if not (difference <= LARGE_TOLERANCE * 300).float().mean() >= LARGE_SHARE:
        raise Unrecognized("it limits the flow, the values or the size")


def _nearest(
    convention: Convention, difference: float, results: list[tuple]
) -> tuple[Convention, float]:
    """A convention in the order of arithmetic that rounds as the function does."""
    if convention.unit == "size - 1" and convention.origin != "centers":
        other = replace(convention, by_position=True)
        other_difference = _difference(other, results)
        if other_difference is not None and other_difference < difference:
            return other, other_difference
    return convention, difference


def _run(
    function: Callable,
    image: torch.Tensor,
    flow: torch.Tensor,
    flow_last: bool,
    flow_first: bool,
    options: dict,
    device: str,
) -> tuple[torch.Tensor, ...]:
    """Result (B, C, H, W) and the gradients of image and flow."""
    if flow_last:
        flow = flow.permute(0, 2, 3, 1).contiguous()
    image, flow = image.clone().requires_grad_(), flow.clone().requires_grad_()
    before = image.detach().clone(), flow.detach().clone()
    # Copies that are no leaves: a function may change its arguments, which the check below finds.
    given = image.to(device) * 1, flow.to(device) * 1
    try:
        with torch.device(device):
            out = function(*(given[::-1] if flow_first else given), **options)
    except (Exception, SystemExit) as error:  # whatever another project's function raises
        text = str(error).strip().partition("\n")[0]
        raise Raised(f"it raised {type(error).__name__}: {text[:100]}") from None
    if not isinstance(out, torch.Tensor):
        raise Unrecognized(f"it returns {type(out).__name__} and not a tensor")
    if out.shape != image.shape or out.dtype != image.dtype:
        raise Unrecognized(f"its result is {tuple(out.shape)} for an image {tuple(image.shape)}")
    if out.device != given[0].device:
        raise Raised(f"its result is on {out.device} for an image on {given[0].device}")
    if any(not torch.equal(a.cpu(), b) for a, b in zip(given, before, strict=True)):
        raise Unrecognized("it changes its arguments")
    if not out.requires_grad:
        raise Unrecognized("its result has no gradient")
    out = out.cpu()
    weights = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)
    gradients = torch.autograd.grad(out, (image, flow), weights, allow_unused=True)
    gradients = [
        torch.zeros_like(x) if g is None else g for x, g in zip(before, gradients, strict=True)
    ]
    return *before, out.detach(), *gradients


def _difference(convention: Convention, results: list[tuple]) -> float | None:
    """The largest difference of results, or None if results or gradients do not agree."""
    largest = 0.0
    for image, flow, expected, *_ in results:
        with torch.no_grad():
            difference = (convention(image, flow) - expected).abs().max().item()
        if not difference <= TOLERANCE:  # also NaN
            return None
        largest = max(largest, difference)
    for image, flow, expected, *gradients in results:
        inputs = image.clone().requires_grad_(), flow.clone().requires_grad_()
        weights = torch.linspace(-1, 1, expected.numel(), dtype=expected.dtype).view_as(expected)
        own = torch.autograd.grad(convention(*inputs), inputs, weights)
        for mine, theirs in zip(own, gradients, strict=True):
            if not (mine - theirs).abs().max() <= GRADIENT_TOLERANCE * theirs.abs().max():
                return None
    return largest


def _gpus_in_use() -> list[int]:
    return [torch.cuda.current_device()] if torch.cuda.is_initialized() else []


@contextmanager
def _undisturbed(function: Callable) -> Iterator[None]:
    """What a function keeps between calls is afterwards as before.

    Modes of the caller do not reach the probes: gradients are on, autocast is off, and the flag
    does not ask for backends that need a GPU. Its random numbers stay what they would have been.
    """
    with (
        caches_restored(function),
        warnings.catch_warnings(),
        _disable_current_modes(),
        torch.random.fork_rng(_gpus_in_use()),
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.device("cpu"),
        torch.autocast("cpu", enabled=False),
        torch.autocast("cuda", enabled=False),
        dispatch.use("auto"),
    ):
        warnings.simplefilter("ignore")
        yield
