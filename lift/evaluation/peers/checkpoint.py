"""Checkpoints of other models: state dicts as `torch.save` wrote them."""

from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from lift.errors import LiftError

Model = TypeVar("Model")


def read_state(path: Path, flag: str) -> dict[str, torch.Tensor]:
    """The tensors of a checkpoint by name, on the CPU, without DistributedDataParallel's `module.`.

    No code of the file is run (`weights_only=True`).

    Raises:
        LiftError: the file cannot be read, or is no state dict.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise LiftError(f"{flag}: {path} cannot be read ({error.strerror or error})") from error
    except Exception as error:  # of many types, as broken files have it
        reason = str(error).strip().partition("\n")[0]
        raise LiftError(
            f"{flag}: {path} is not a checkpoint of tensors alone ({reason}); "
            "give the file that the authors published, downloaded completely"
        ) from error
    if not isinstance(state, dict) or not all(torch.is_tensor(each) for each in state.values()):
        raise LiftError(f"{flag}: {path} is not a dictionary of tensors by name; give weights")
    return {name.removeprefix("module."): tensor for name, tensor in state.items()}


def load_first_fit(
    candidates: Iterable[tuple[str, Model, nn.Module]],
    state: dict[str, torch.Tensor],
    path: Path,
    flag: str,
) -> tuple[str, Model]:
    """Load the weights into the first network that they fit, in evaluation mode.

    Tensors that the network does not have are left out: checkpoints also hold what only training
    needs.

    Args:
        candidates: (name of the variant, the model, its network that takes the weights).
        state: from `read_state`.

    Returns:
        Name and model of the variant.

    Raises:
        LiftError: the weights fit none of them.
    """
    misfits = []
    for variant, model, net in candidates:
        reason = misfit(net, state)
        if reason is None:
            net.load_state_dict(state, strict=False)
            net.eval()
            return variant, model
        misfits.append(f"{variant}: {reason}")
    raise LiftError(
        f"{flag}: {path} does not fit the code ({'; '.join(misfits)}); "
        "give weights and code of one version"
    )


def misfit(net: nn.Module, state: dict[str, torch.Tensor]) -> str | None:
    """Why the weights do not fill the network, or None where they do."""
    for name, tensor in net.state_dict().items():
        if name not in state:
            return f"{name} is missing"
        if state[name].shape != tensor.shape:
            return f"{name} is {list(state[name].shape)}, not {list(tensor.shape)}"
    return None
