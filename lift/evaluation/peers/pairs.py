"""Methods of two references, on tensors: padding, order of channels, and times other than 0.5."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from torch.nn import functional as F

from lift.errors import LiftError
from lift.evaluation.methods import Method

# (reference at 0, reference at 1, t) -> frame at t; (1, 3, H, W) in [0, 1]
Infer = Callable[[torch.Tensor, torch.Tensor, float], torch.Tensor]

FINEST = 64  # the largest denominator of a time that is reached by halving
NEAR = 1e-6  # how far a time may be from such a fraction: times are decimal numbers in files


@dataclass(frozen=True)
class Preparation:
    """What a model's own scripts do to the frames.

    Attributes:
        multiple: height and width are padded to multiples of it.
        centred: pad on all sides, repeating the border; else below and at the right, with zeros.
        bgr: channels are in OpenCV's order.
        any_time: the network takes t; else it generates t = 0.5, and other times by halving.
    """

    multiple: int
    centred: bool = True
    bgr: bool = False
    any_time: bool = True

    def __str__(self) -> str:
        times = "any t" if self.any_time else "t = 0.5, other times by halving"
        side = "border repeated on all sides" if self.centred else "zeros below and at the right"
        return (
            f"{times}, {'BGR' if self.bgr else 'RGB'}, "
            f"padded to a multiple of {self.multiple} ({side})"
        )


def pair_method(
    name: str, infer: Infer, preparation: Preparation, device: torch.device, about: str
) -> Method:
    """A method that calls `infer` as the model's own scripts do.

    The method raises LiftError where `infer` fails, or where t cannot be reached.
    """

    def interpolate(frames: np.ndarray, times: list[float], left: int, t: float) -> np.ndarray:
        steps = [t] if preparation.any_time else halvings(t, name)
        images = torch.from_numpy(np.ascontiguousarray(frames[left : left + 2])).to(device)
        height, width = images.shape[1:3]
        images = images.permute(0, 3, 1, 2).float() / 255
        if preparation.bgr:
            images = images.flip(1)
        images, (top, start) = padded(images, preparation.multiple, preparation.centred)
        image0, image1 = images[:1], images[1:]
        with torch.no_grad(), failures_named(name, width, height):
            for i, step in enumerate(steps):
                frame = infer(image0, image1, step if preparation.any_time else 0.5)
                if i + 1 < len(steps):
                    image0, image1 = (image0, frame) if step < 0.5 else (frame, image1)
        frame = frame[0, :, top : top + height, start : start + width].float()
        if preparation.bgr:
            frame = frame.flip(0)
        return (frame * 255).clamp(0, 255).permute(1, 2, 0).contiguous().cpu().numpy()

    return Method(name, 2, interpolate, about)


@contextmanager
def failures_named(name: str, width: int, height: int) -> Iterator[None]:
    """Raise what a model's code raises as a LiftError with its name and the size of the frames."""
    try:
        yield
    except Exception as error:
        reason = f"{type(error).__name__}: {str(error).strip()}".partition("\n")[0]
        remedy = "leave it out of --methods, or give another version of its code"
        if isinstance(error, torch.OutOfMemoryError):
            remedy = "use smaller frames, or --device cpu"
        raise LiftError(
            f"{name} failed on a pair of {width}x{height} ({reason}); {remedy}"
        ) from error


def padded(
    images: torch.Tensor, multiple: int, centred: bool = True, least: int = 0
) -> tuple[torch.Tensor, tuple[int, int]]:
    """Images whose height and width are multiples of a number.

    Args:
        images: (N, C, H, W).
        centred: pad on all sides, repeating the border; else below and at the right, with zeros.
        least: the smallest height and width.

    Returns:
        The padded images, and the row and the column where the original begins.
    """
    height, width = images.shape[-2:]
    extra_h, extra_w = (max(n, least) + -max(n, least) % multiple - n for n in (height, width))
    if not centred:
        return F.pad(images, (0, extra_w, 0, extra_h)), (0, 0)
    top, start = extra_h // 2, extra_w // 2
    sides = (start, extra_w - start, top, extra_h - top)
    return F.pad(images, sides, mode="replicate"), (top, start)


def halvings(t: float, name: str) -> list[float]:
    """Where t lies in each of the intervals whose middle is generated; 0.5 in the last of them.

    Raises:
        LiftError: t is no multiple of 1/2, 1/4, ... 1/64.
    """
    exact = Fraction(t).limit_denominator(FINEST)
    is_power_of_two = exact.denominator & (exact.denominator - 1) == 0
    if not 0 < exact < 1 or abs(float(exact) - t) > NEAR or not is_power_of_two:
        raise LiftError(
            f"{name} with these weights generates the middle of two frames, and halving does not "
            f"reach t = {t:.4g}; use weights for any time, or leave {name} out of --methods"
        )
    steps = [exact]
    while steps[-1] != Fraction(1, 2):
        steps.append(2 * steps[-1] % 1)
    return [float(step) for step in steps]


def multiple_at(base: int, scale: float, flag: str = "--peer_scale") -> int:
    """Multiple of height and width so that they are multiples of `base` after scaling by `scale`.

    Raises:
        LiftError: there is no whole number.
    """
    multiple = Fraction(base) / Fraction(scale).limit_denominator(100)
    if multiple.denominator != 1:
        raise LiftError(
            f"{flag} {scale:g} gives no whole multiple for padding ({base} / {scale:g}); "
            "use 1, 0.5, 0.25 or 0.8"
        )
    return int(multiple)
