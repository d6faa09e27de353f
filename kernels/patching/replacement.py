"""Functions that call LIFT's ops, or the original where these do not apply."""

import inspect
import types
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps

import torch
import torch.nn.functional as F

from lift.kernels.ops.grid_sample.op import grid_sample
from lift.kernels.ops.grid_sample.reference import MODES, PADDING_MODES
from lift.kernels.patching.conventions import Convention
from lift.kernels.patching.probe import Unrecognized, recognize
from lift.kernels.patching.surroundings import settings_of, unchanged

MARK = "__lift_patch__"  # attribute of what a patch put in place
MOST_OPTIONS = 32  # combinations of options remembered for a function


@dataclass
class State:
    """Whether a patch is in force: what it put in place asks at every call."""

    active: bool = True


@dataclass(frozen=True)
class Mark:
    """The patch that something belongs to, and what it stands for."""

    state: State
    original: object


def mark_of(value: object) -> Mark | None:
    """The mark of a function or module that a patch put in place, else None."""
    if isinstance(value, types.FunctionType | types.ModuleType):
        return vars(value).get(MARK)
    return None


def unwrapped(value: object, only_inactive: bool = False) -> object:
    """What stands below all patches, or below those that were undone."""
    while (mark := mark_of(value)) and not (only_inactive and mark.state.active):
        value = mark.original
    return value


# -- which calls the ops take ----------------------------------------------------------------------


def _same_kind(image: object, other: object) -> bool:
    """Whether both are tensors of four dimensions with one device and a dtype of the ops."""
    return (
        isinstance(image, torch.Tensor)
        and isinstance(other, torch.Tensor)
        and image.ndim == other.ndim == 4
        and image.device == other.device
        and image.dtype == other.dtype
        and image.dtype in (torch.float32, torch.float64)
        and image.layout == other.layout == torch.strided
        and not torch.jit.is_tracing()  # a trace keeps PyTorch's own operator
    )


def _promoted(image: object, other: object) -> tuple:
    """Both in float32 where autocast would promote half and float32, as it does for PyTorch's."""
    if isinstance(image, torch.Tensor) and isinstance(other, torch.Tensor):
        if image.dtype != other.dtype and torch.is_autocast_enabled(image.device.type):
            half = torch.float16, torch.bfloat16
            if {image.dtype, other.dtype} <= {torch.float32, *half}:
                return image.float(), other.float()
    return image, other


def _takes_flow(convention: Convention, image: object, flow: object) -> bool:
    if not _same_kind(image, flow):
        return False
    B, _, H, W = image.shape
    expected = (B, H, W, 2) if convention.flow_last else (B, 2, H, W)
    # The originals divide by size - 1: a side of one pixel is theirs.
    return tuple(flow.shape) == expected and min(H, W) > 1 and image.numel() > 0


# -- a warp ----------------------------------------------------------------------------------------


def parameters_of(function: Callable, method: bool) -> list[str]:
    """Names of the parameters that may be positional, without self.

    Raises:
        Unrecognized: there are fewer than two, or a third one has no default.
    """
    kinds = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.POSITIONAL_ONLY
    parameters = list(inspect.signature(function).parameters.values())[int(method) :]
    names = [p.name for p in parameters if p.kind in kinds]
    if len(names) < 2:
        raise Unrecognized("it takes fewer than two arguments")
    collected = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD
    needed = [p.name for p in parameters if p.default is p.empty and p.kind not in collected]
    further = [name for name in needed if name not in names[:2]]
    if further:
        raise Unrecognized(f"it needs more than an image and a flow: {', '.join(further)}")
    return names


def warp_replacement(
    function: types.FunctionType, state: State, method: bool = False
) -> tuple[Callable, Convention, float]:
    """A function with the signature of `function` that computes its convention by LIFT's ops.

    Options (strings, booleans and None) are recognized at the first call that has them, by probing
    `function` again. The original gets every call that the ops do not take, and all calls while a
    setting that it reads has another value than now.

    Args:
        function: of an image and a flow.
        state: of the patch.
        method: whether `function` takes self, which it does not read.

    Returns:
        The replacement, the convention of a call without options, and the difference of results.

    Raises:
        Unrecognized: `function` follows no known convention.
    """
    names = parameters_of(function, method)
    probed = (lambda *args, **options: function(None, *args, **options)) if method else function
    convention, difference = recognize(probed)
    conventions: dict[tuple, Convention | None] = {(): convention}
    skipped = int(method)
    settings = settings_of(function)

    def convention_of(options: dict) -> Convention | None:
        key = tuple(sorted(options.items()))
        if key not in conventions:
            if len(conventions) >= MOST_OPTIONS or torch.compiler.is_compiling():
                return None
            try:
                conventions[key] = recognize(probed, options)[0]
            except Unrecognized:
                conventions[key] = None
        return conventions[key]

    @wraps(function)
    def replacement(*args, **kwargs):
        given = dict(zip(names, args[skipped:], strict=False))
        fits = len(args) - skipped <= len(names) and not given.keys() & kwargs.keys()
        # Settings are no guards of compiled code: it would watch every name of a namespace.
        if state.active and fits and (torch.compiler.is_compiling() or unchanged(settings)):
            given.update(kwargs)
            first, second = given.pop(names[0], None), given.pop(names[1], None)
            if all(value is None or isinstance(value, str | bool) for value in given.values()):
                found = convention_of(given)
                if found is not None:
                    image, flow = (second, first) if found.flow_first else (first, second)
                    image, flow = _promoted(image, flow)
                    if _takes_flow(found, image, flow):
                        return found(image, flow)
        return function(*args, **kwargs)

    setattr(replacement, MARK, Mark(state, function))
    return replacement, convention, difference


# -- grid_sample -----------------------------------------------------------------------------------


def grid_sample_replacement(state: State) -> Callable:
    """`torch.nn.functional.grid_sample` by LIFT's op; what that does not take goes to PyTorch."""
    original = F.grid_sample

    @wraps(original)
    def replacement(input, grid, mode="bilinear", padding_mode="zeros", align_corners=None):
        if state.active and mode in MODES and padding_mode in PADDING_MODES:
            image, positions = _promoted(input, grid)
            if _same_kind(image, positions) and _takes_grid(image, positions):
                return grid_sample(image, positions, mode, padding_mode, align_corners)
        return original(input, grid, mode, padding_mode, align_corners)

    setattr(replacement, MARK, Mark(state, original))
    return replacement


def _takes_grid(image: torch.Tensor, grid: torch.Tensor) -> bool:
    return grid.shape[0] == image.shape[0] and grid.shape[3] == 2 and image.numel() > 0


def module_copies(state: State) -> dict[int, types.ModuleType]:
    """For `torch.nn.functional`, `torch.nn` and `torch`, by id: a copy that leads to LIFT's op.

    A copy holds the same objects, so other functions stay what they are, also for torch.compile.
    """
    below: tuple[str, object] = ("grid_sample", grid_sample_replacement(state))
    copies = {}
    for module, name in ((F, "functional"), (torch.nn, "nn"), (torch, "")):
        copy = types.ModuleType(module.__name__, module.__doc__)
        vars(copy).update(vars(module))
        vars(copy)[below[0]] = below[1]
        vars(copy)[MARK] = Mark(state, module)
        copies[id(module)] = copy
        below = name, copy
    return copies
