"""The code of another model, imported from the user's checkout.

Checkouts call their packages `model`, `utils` or `config`. Two of them in one process would clash,
and so would one of them and an installed package. So their modules are in `sys.modules` only while
their code runs, and their packages are found in the checkout and nowhere else.
"""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from lift.errors import LiftError


class Checkout:
    """A folder with the code of another model.

    Args:
        packages: names of its packages and modules at the top, and the path of each, a folder or
            a file without `.py`.
        source: where the code comes from, for messages.
        flag: the flag that names the folder, for messages.
        device: what the code is to run on; replaces the variable `device` of its modules.
    """

    def __init__(self, packages: dict[str, Path], source: str, flag: str, device: torch.device):
        self.packages = packages
        self.source = source
        self.flag = flag
        self.device = device
        self._modules: dict[str, ModuleType] = {}

    def load(self, module: str, name: str) -> Any:
        """What `module` of the checkout calls `name`.

        Raises:
            LiftError: there is no such file, it cannot be imported, or it has no such name.
        """
        top, *below = module.split(".")
        file = Path(f"{self.packages[top].joinpath(*below)}.py")
        expected = f"{file} with {name}, as {self.source} has it"
        if not file.is_file():
            raise LiftError(f"{self.flag}: there is no {expected}; give a checkout of that version")
        importlib.invalidate_caches()
        with self.building():
            found = self._import(module, file)
            for each in self._own():
                if isinstance(getattr(sys.modules[each], "device", None), torch.device):
                    sys.modules[each].device = self.device
        if not hasattr(found, name):
            raise LiftError(
                f"{self.flag}: expected {expected}, but the file has no {name}; "
                "give a checkout of that version"
            )
        return getattr(found, name)

    def _import(self, module: str, file: Path) -> ModuleType:
        try:
            return importlib.import_module(module)
        except ModuleNotFoundError as error:
            missing = error.name or str(error)
            if missing.partition(".")[0] in self.packages:
                raise LiftError(
                    f"{self.flag}: {file} needs {missing}, which is not in the checkout; "
                    f"give a complete checkout of {self.source}"
                ) from error
            package = missing.partition(".")[0]
            raise LiftError(
                f"{self.flag}: {file} needs the package {package}, which is not installed; "
                f"pip install {PACKAGES.get(package, package)}"
            ) from error

    @contextmanager
    def active(self) -> Iterator[None]:
        """Let the checkout's modules be imported; afterwards the interpreter is as it was before.

        Its code must also run inside, since functions may import when they are called.
        """
        outside = self._take()
        sys.modules.update(self._modules)
        paths, bytecode = list(sys.path), sys.dont_write_bytecode
        sys.dont_write_bytecode = True  # the checkout stays as it is
        sys.meta_path.insert(0, self)
        try:
            yield
        finally:
            sys.meta_path.remove(self)
            sys.path[:], sys.dont_write_bytecode = paths, bytecode
            self._modules = self._take()
            sys.modules.update(outside)

    @contextmanager
    def building(self) -> Iterator[None]:
        """As `active`, while code is imported and the model is built.

        Raises:
            LiftError: that code failed.
        """
        try:
            with self.active():
                yield
        except LiftError:
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {error}".partition("\n")[0]
            raise LiftError(
                f"{self.flag}: the model cannot be built from this checkout ({reason}); "
                f"give a version of {self.source} that runs with this Python and PyTorch"
            ) from error

    def find_spec(self, name: str, path=None, target=None) -> ModuleSpec | None:
        """The finder of the import system, for packages at the top; others are found as usual."""
        if name not in self.packages:
            return None
        package = self.packages[name]
        if not package.is_dir():
            file = Path(f"{package}.py")
            if not file.is_file():  # an installed package of this name is not meant
                raise ModuleNotFoundError(f"{file} does not exist", name=name)
            return spec_from_file_location(name, file)
        places, initial = [str(package)], package / "__init__.py"
        if initial.is_file():
            return spec_from_file_location(name, initial, submodule_search_locations=places)
        spec = ModuleSpec(name, None, is_package=True)
        spec.submodule_search_locations = places
        return spec

    def _own(self) -> list[str]:
        return [name for name in sys.modules if name.partition(".")[0] in self.packages]

    def _take(self) -> dict[str, ModuleType]:
        return {name: sys.modules.pop(name) for name in self._own()}


PACKAGES = {  # what pip calls a module, where it is another name
    "PIL": "pillow",
    "cv2": "opencv-python-headless",
    "skimage": "scikit-image",
}
