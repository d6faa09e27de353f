"""LIFT: video frame interpolation from fifteen frames, with its own fused kernels."""
from importlib import import_module
from pathlib import Path

# In a checkout `lift.kernels` lies beside `lift/` (package_dir maps it when installed); this lets a bare checkout import it.
_checkout = Path(__file__).resolve().parent.parent
if (_checkout / "kernels" / "backend.py").is_file():
    __path__.append(str(_checkout))

__version__ = "0.1.0"

# Loaded when asked for, so that `lift --help` does not wait for torch.
_public = {
    "Clip": "lift.data.clip",
    "Interpolator": "lift.video.interpolator",
    "LIFT": "lift.model.lift",
    "Prediction": "lift.model.prediction",
    "create_lift_model": "lift.model.lift",
}
__all__ = [*_public, "kernels"]                         # `from lift import kernels` finds the subpackage


def __getattr__(name: str):
    if name in _public:
        return getattr(import_module(_public[name]), name)
    raise AttributeError(f"module 'lift' has no attribute {name!r}")
