"""Weights of a whole model in one safetensors file, with their configuration as metadata."""

import json
from dataclasses import asdict
from pathlib import Path

import torch
from torch import nn

from lift.config import Config, from_dict, old_names, to_dict
from lift.errors import LiftError
from lift.files import atomic, sha256
from lift.model.bundled import verify
from lift.model.key_map import current_key
from lift.model.lift import LIFT

# -- write -----------------------------------------------------------------------------------------


def save_weights(path: str | Path, model: nn.Module, config: Config, **metadata: str) -> None:
    """Write the model's parameters and buffers with their configuration, atomically.

    Args:
        path: the file, by convention ending in .safetensors; its folder is created.
        model: what `load_weights` will return; `config.model` must describe it.
        config: the whole configuration of the run.
        metadata: further text to store with the weights, such as step="12000".

    Raises:
        OSError: the file cannot be written; an existing file at `path` is then unchanged.
    """
    header = {"format": "lift", "config": json.dumps(to_dict(config)), **metadata}
    _write(path, _state(model), header)


def save_small(
    path: str | Path,
    model: nn.Module,
    config: Config,
    limit: int,
    dtype: str = "auto",
    **metadata: str,
) -> list[Path]:
    """Write weights in files of at most `limit` bytes each.

    Further files are parts, named after `path`, as `base.2.safetensors`; `path` holds their
    SHA-256, and `read_weights` joins them.

    Args:
        path, model, config, metadata: as for `save_weights`.
        limit: bytes of a file.
        dtype: float32; float16, which leaves vectors, scalars and whatever it cannot hold in
            float32; auto, float16 where float32 would exceed the limit.

    Returns:
        The files, `path` first.

    Raises:
        OSError: a file cannot be written.
    """
    tensors, part_limit = _state(model), limit - HEADER
    if dtype == "float16" or dtype == "auto" and _bytes(tensors) > part_limit:
        tensors = {name: _half(tensor) for name, tensor in tensors.items()}
    parts: list[dict[str, torch.Tensor]] = [{}]
    for name, tensor in tensors.items():
        if parts[-1] and _bytes(parts[-1]) + tensor.nbytes > part_limit:
            parts.append({})
        parts[-1][name] = tensor
    path = Path(path)
    numbers = range(2, len(parts) + 1)
    paths = [path, *(path.with_suffix(f".{number}{path.suffix}") for number in numbers)]
    for other, part in zip(paths[1:], parts[1:], strict=True):
        _write(other, part, {"format": "lift part"})
    others = {other.name: sha256(other) for other in paths[1:]}
    header = {"format": "lift", "config": json.dumps(to_dict(config)), **metadata}
    if others:
        header["parts"] = json.dumps(others)
    _write(path, parts[0], header)
    return paths


HEADER = 200_000  # upper bound of the bytes of names, shapes and the configuration
ROUNDING = 2**-11  # largest relative error of a number in float16's normal range


def _half(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor in float16, or as it is where that saves little or loses more than rounding.

    Vectors and scalars (biases, thresholds) are few and stay. So does a tensor of numbers beyond
    float16's range, or of so small ones that their error is larger than that of rounding.
    """
    if tensor.ndim < 2 or not tensor.is_floating_point():
        return tensor
    half = tensor.half()
    error = (half.double() - tensor.double()).norm()
    return half if error <= ROUNDING * tensor.double().norm() else tensor


def _state(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}


def _bytes(tensors: dict[str, torch.Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors.values())


def _write(path: str | Path, tensors: dict[str, torch.Tensor], header: dict[str, str]) -> None:
    import safetensors.torch  # here: a machine that only runs benchmarks may not have it

    # Bytes that Python writes: a full disk is then an OSError.
    content = safetensors.torch.save(tensors, header)
    try:
        with atomic(path) as part:
            part.write_bytes(content)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None


# -- read ------------------------------------------------------------------------------------------


def read_weights(path: str | Path) -> tuple[dict[str, torch.Tensor], Config, dict[str, str]]:
    """Tensors by name, configuration and the other metadata of a file that `save_weights` wrote.

    Tensors that are stored under former names come back under today's; see `key_map`.

    Raises:
        LiftError: the file is missing, corrupt, or no LIFT weights.
    """
    tensors, header = read_safetensors(path)
    if header.get("format") != "lift" or "config" not in header:
        raise LiftError(
            f"{path} holds no LIFT weights (its metadata has no configuration); "
            "give a .safetensors file that lift wrote"
        )
    try:
        config = from_dict(old_names.of_stored_model(json.loads(header.pop("config"))))
    except (ValueError, TypeError, LiftError) as error:
        raise LiftError(
            f"{path} has a configuration that this version cannot read ({error}); "
            "use the version of lift that wrote it"
        ) from None
    for name, digest in json.loads(header.pop("parts", "{}")).items():
        other = Path(path).with_name(name)
        tensors |= read_safetensors(other)[0]
        if sha256(other) != digest:
            raise LiftError(f"{other} is not the part that {path} goes with; copy both again")
    return {current_key(name): tensor for name, tensor in tensors.items()}, config, header


def read_safetensors(path: str | Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Tensors and metadata of any safetensors file, on the CPU.

    Raises:
        LiftError: the file is missing, a folder, corrupt, or bundled and not as it ships.
    """
    path = Path(path)
    if not path.is_file():
        raise LiftError(f"{path} is not a file; give the path of a .safetensors file")
    verify(path)
    import safetensors  # here, as in `_write`

    try:
        with safetensors.safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}
            return tensors, dict(file.metadata() or {})
    except safetensors.SafetensorError as error:
        raise LiftError(
            f"{path} is corrupt or not a safetensors file ({error}); copy or download it again"
        ) from None


def load_weights(path: str | Path, kernels: str = "auto") -> tuple[nn.Module, Config]:
    """Build the model that a file describes, with the file's weights.

    Args:
        path: a file that `save_weights` wrote.
        kernels: auto, fused or reference, as in `create_lift_model`.

    Returns:
        The LIFT, in evaluation mode on the CPU, and the configuration stored with it.

    Raises:
        LiftError: the file is missing, corrupt, no LIFT weights, or does not fit its own
            configuration.
    """
    tensors, config, _ = read_weights(path)
    model = LIFT(config.model, kernels)
    _fill(model, tensors, path)
    return model.eval(), config


def load_into(model: nn.Module, path: str | Path) -> Config:
    """Load the weights of a file into a model, and return the file's configuration.

    Raises:
        LiftError: the file is missing, corrupt, no LIFT weights, or of a model of other sizes; the
            model is then unchanged.
    """
    tensors, config, _ = read_weights(path)
    difference = differing_fields(asdict(config.model), asdict(model.config))
    if difference:
        raise LiftError(
            f"{path} holds weights of another model: {difference}; "
            "choose the same preset and sizes, or other weights"
        )
    _fill(model, tensors, path)
    return config


def differing_fields(stored: dict, wanted: dict) -> str:
    """Fields in which two flat dictionaries differ, as `name is A there and B here`.

    Empty where they agree; the preset comes first.
    """
    names = [name for name in wanted if stored.get(name) != wanted[name]]
    shown = [f"{name} is {stored.get(name)} there and {wanted[name]} here" for name in names[:4]]
    return ", ".join(shown) + (f" and {len(names) - 4} more fields" if len(names) > 4 else "")


def _fill(model: nn.Module, tensors: dict[str, torch.Tensor], path: str | Path) -> None:
    own = model.state_dict()
    missing, unknown = sorted(own.keys() - tensors.keys()), sorted(tensors.keys() - own.keys())
    misfits = [
        f"{name} is {tuple(tensors[name].shape)} and not {tuple(own[name].shape)}"
        for name in sorted(own.keys() & tensors.keys())
        if tensors[name].shape != own[name].shape
    ]
    causes = [
        *misfits,
        *(f"{name} is missing" for name in missing),
        *(f"{name} is not known" for name in unknown),
    ]
    if causes:
        raise LiftError(
            f"{path} does not fit this model in {len(causes)} tensors ({causes[0]}); "
            "use weights of the same preset and version of lift"
        )
    model.load_state_dict(tensors)
