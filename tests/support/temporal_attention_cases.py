"""Cases, results with gradients, and parity with the reference, for `temporal_attention`."""

import math

import torch

from lift import kernels
from lift.kernels.ops.temporal_attention import op
from lift.kernels.ops.temporal_attention.reference import temporal_attention_reference
from tests.support.parity import assert_close, assert_right_as_a_whole

NAMES = ("q", "k", "v", "time_bias", "window_bias")
DTYPES = {str(d).removeprefix("torch."): d for d in (torch.float32, torch.float16, torch.bfloat16)}
INTERPRETED = op.triton is not None and op.triton.INTERPRETED


def device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def make(case, dtype: str = "float32", masked: bool = True) -> dict:
    """Arguments of a case (B, Tq, Tk, H, W, heads, d, window, shift), with every table; masked: the
    first clip's last frame is not real.
    """
    B, Tq, Tk, H, W, heads, d, window, shift = case
    mask = torch.ones(B, Tk, dtype=torch.bool)
    if masked and Tk > 1:
        mask[:1, -1] = False
    tensors = {
        "q": torch.randn(B, Tq, H, W, heads, d).to(DTYPES[dtype]),
        "k": torch.randn(B, Tk, H, W, heads, d).to(DTYPES[dtype]),
        "v": torch.randn(B, Tk, H, W, heads, d).to(DTYPES[dtype]),
        "time_bias": torch.randn(B, heads, Tq, Tk),
        "window_bias": torch.randn(heads, 2 * window - 1, 2 * window - 1),
        "mask": mask,
    }
    return {name: x.to(device()) for name, x in tensors.items()} | {
        "window": window,
        "shift": shift,
        "scale": d**-0.5,
    }


def fused(**arguments):
    return kernels.temporal_attention(**arguments, backend="triton")


def reference(**arguments):
    return temporal_attention_reference(**arguments)


def results(function, arguments: dict, wrt=NAMES, grad=None) -> dict[str, torch.Tensor]:
    """The output, the frame weights and the gradients of `wrt`.

    Args:
        grad: the output's gradient; None for a random one, always the same.
    """
    leaves = {
        n: x.detach().requires_grad_(n in wrt) if n in NAMES and x is not None else x
        for n, x in arguments.items()
    }
    out, frame_weights = function(**leaves)
    wanted = [n for n in wrt if leaves.get(n) is not None]
    grad = towards(out) if grad is None else grad
    found = torch.autograd.grad(out, [leaves[n] for n in wanted], grad) if wanted else ()
    return {"out": out.detach(), "frame_weights": frame_weights} | dict(
        zip((f"gradient of {n}" for n in wanted), found, strict=True)
    )


def towards(out: torch.Tensor) -> torch.Tensor:
    return torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).to(
        out.device, out.dtype
    )


def assert_parity(found: dict, arguments: dict, grad=None) -> None:
    """`found` is what the reference has for these arguments, by the rule of `parity`; weights
    multiply in the dtype of queries. `grad` is the output's gradient, as `results` takes it."""
    wrt = tuple(n.removeprefix("gradient of ") for n in found if n.startswith("gradient"))
    low = results(reference, arguments, wrt, grad)
    doubled = {
        n: x.double() if isinstance(x, torch.Tensor) and x.is_floating_point() else x
        for n, x in arguments.items()
    }
    exact = results(
        reference, doubled, wrt, (towards(low["out"]) if grad is None else grad).double()
    )
    for name in found:
        arithmetic = torch.float32 if name == "frame_weights" else arguments["q"].dtype
        if (
            exact[name].abs().max() < 1e-9
        ):  # such as window_bias of a window of 1, which cancels in the softmax
            assert found[name].abs().max() < 64 * torch.finfo(arithmetic).eps, name
            continue
        assert_close(name, found[name], low[name], exact[name], arithmetic)
        if name.startswith("gradient"):
            assert_right_as_a_whole(name, found[name], low[name], exact[name], arithmetic)


# -- layouts of q, k and v -------------------------------------------------------------------------


def of_layers(x: torch.Tensor) -> torch.Tensor:
    """As the model has keys: a slice of what one projection gives for all layers, keys and values;
    the rest is NaN.
    """
    buffer = torch.full(
        (*x.shape[:2], 2, *x.shape[2:4], 2, *x.shape[4:]), math.nan, dtype=x.dtype, device=x.device
    )
    return buffer[:, :, 1, :, :, 0].copy_(x)


def heads_first(x: torch.Tensor) -> torch.Tensor:
    return x.permute(4, 2, 0, 1, 3, 5).contiguous().permute(2, 3, 1, 4, 0, 5)


def channels_first(x: torch.Tensor) -> torch.Tensor:
    """The last stride is not 1: the kernels take a copy."""
    return x.movedim(-1, 2).contiguous().movedim(2, -1)


def still(x: torch.Tensor) -> torch.Tensor:
    """One frame, expanded with a stride of 0."""
    return x[:, :1].expand(x.shape)


def misaligned(x: torch.Tensor) -> torch.Tensor:
    return torch.cat((x.new_zeros(1), x.flatten()))[1:].view(x.shape)


LAYOUTS = {f.__name__: f for f in (of_layers, heads_first, channels_first, still, misaligned)}
