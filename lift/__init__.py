"""LIFT: video frame interpolation from fifteen frames, with its own fused kernels."""

import sys
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.util import spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING

from lift.moved import MovedModules


class _CheckoutKernels(MetaPathFinder):
    """Finds `lift.kernels` beside `lift/` in a checkout; an installed LIFT has it inside."""

    def find_spec(self, name, path=None, target=None):
        if name != "lift.kernels":  # this is asked for every import of the process
            return None
        file = Path(__file__).resolve().parent.parent / "kernels" / "__init__.py"
        if not (file.parent / "dispatch.py").is_file():
            return None
        return spec_from_file_location(name, file, submodule_search_locations=[str(file.parent)])


# First, so that another LIFT installed in editable mode does not provide the kernels.
sys.meta_path.insert(0, _CheckoutKernels())
sys.meta_path.append(MovedModules())

__version__ = "0.1.0"

if TYPE_CHECKING:
    from lift.data.clip import Clip
    from lift.model.factory import create_lift_model
    from lift.model.lift import LIFT
    from lift.model.types import Prediction
    from lift.video.interpolator import Interpolator

# Imported on first use, so that `lift --help` does not wait for torch.
_public = {
    "Clip": "lift.data.clip",
    "Interpolator": "lift.video.interpolator",
    "LIFT": "lift.model.lift",
    "Prediction": "lift.model.types",
    "create_lift_model": "lift.model.factory",
}
# `from lift import kernels` imports the subpackage
__all__ = ["Clip", "Interpolator", "LIFT", "Prediction", "create_lift_model", "kernels"]


def __getattr__(name: str):
    if name in _public:
        return getattr(import_module(_public[name]), name)
    raise AttributeError(f"module 'lift' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted((*__all__, "__version__"))
