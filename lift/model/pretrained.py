"""Weights to start from: of a whole model, by name, or of an encoder, as far as they fit."""

import pickle
from pathlib import Path

import torch
from torch import nn

from lift.errors import LiftError
from lift.model.bundled import pretrained_path, shipped_names
from lift.model.weights import read_safetensors

PREFIXES = ("module.", "model.", "_orig_mod.", "state_dict.", "net.", "backbone.", "encoder.")


def weights_path(name: str | Path) -> Path:
    """The file of weights that a flag names: a path, or a name such as `tiny` or `tiny_open`.

    A file that has the name of bundled weights comes first.

    Raises:
        LiftError: neither a file nor the name of weights that ship with the package.
    """
    path = Path(name)
    if path.is_file() or path.suffix or len(path.parts) > 1:
        return path  # what is wrong with it is said when it is read
    shipped = shipped_names()
    if str(name) in shipped:
        return pretrained_path(str(name))
    raise LiftError(
        f"'{name}' is neither a file nor the name of bundled weights; "
        f"give {' or '.join(['the path of a .safetensors file', *shipped])}"
    )


def load_encoder(encoder: nn.Module, path: str | Path) -> str:
    """Load the tensors of a file whose names and shapes are the encoder's.

    Args:
        encoder: receives what fits; the rest keeps its values.
        path: .safetensors, or a .pth, .pt or .ckpt that holds nothing but tensors and plain
            containers. Names may begin with prefixes such as "module." or "encoder."; of a whole
            LIFT only the encoder is taken.

    Returns:
        A few lines: how many tensors were loaded, and the names of those that were not.

    Raises:
        LiftError: the file is missing, corrupt, holds code, or nothing in it fits; the encoder is
            then as it was.
    """
    own = encoder.state_dict()
    stored = {_bare(name): tensor for name, tensor in _tensors(path).items()}
    fitting = {
        name: tensor
        for name, tensor in stored.items()
        if name in own and tensor.shape == own[name].shape
    }
    if not fitting and any(name.startswith("conv1.conv1.") for name in stored):
        raise LiftError(
            f"{path} holds the context network of RIFE, which fits no LIFT encoder: it has two "
            "convolutions with PReLU per scale where LIFT has residual blocks with leaky ReLU; "
            "leave --pretrained_encoder out, or start from --init_weights tiny --preset tiny"
        )
    if not fitting:
        shown = ", ".join(sorted(stored)[:3])
        raise LiftError(
            f"nothing in {path} fits the encoder: it holds {len(stored)} tensors ({shown}, ...) "
            f"and the encoder's are named {', '.join(list(own)[:2])}, ...; "
            "give weights of a LIFT encoder of the same preset"
        )
    encoder.load_state_dict(fitting, strict=False)
    lines = [f"encoder: {len(fitting)} of {len(own)} tensors loaded from {path}"]
    lines += [f"  not loaded, absent from the file: {name}" for name in own if name not in stored]
    lines += [
        f"  not loaded, {tuple(stored[name].shape)} in the file and "
        f"{tuple(own[name].shape)} here: {name}"
        for name in own
        if name in stored and name not in fitting
    ]
    unused = sorted(stored.keys() - own.keys())
    if unused:
        lines.append(
            f"  not used: {', '.join(unused[:5])}"
            + (f" and {len(unused) - 5} more" if len(unused) > 5 else "")
        )
    return "\n".join(lines)


def _tensors(path: str | Path) -> dict[str, torch.Tensor]:
    path = Path(path)
    if path.suffix == ".safetensors":
        return read_safetensors(path)[0]
    if not path.is_file():
        raise LiftError(f"{path} is not a file; give the path of a .safetensors or .pth file")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise LiftError(
            f"{path} holds more than tensors and is not loaded, because it could run code; "
            "save its state_dict alone"
        ) from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise LiftError(
            f"{path} is corrupt or not a PyTorch file ({str(error).splitlines()[0]}); "
            "copy or download it again"
        ) from None
    for key in ("state_dict", "model", "model_state_dict", "params"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
            break
    if not isinstance(content, dict):
        return {}
    return {name: value for name, value in content.items() if torch.is_tensor(value)}


def _bare(name: str) -> str:
    while prefix := next((p for p in PREFIXES if name.startswith(p)), None):
        name = name.removeprefix(prefix)
    return name
