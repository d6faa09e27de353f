"""LIFT: video frame interpolation from fifteen frames, with its own fused kernels."""
from pathlib import Path

# In a checkout `lift.kernels` lies beside `lift/` (package_dir maps it when installed); this lets a bare checkout import it.
_checkout = Path(__file__).resolve().parent.parent
if (_checkout / "kernels" / "backend.py").is_file():
    __path__.append(str(_checkout))

__version__ = "0.1.0"
