import subprocess
import sys

import lift


def test_completion_shows_the_public_names_alone():
    assert dir(lift) == sorted((*lift.__all__, "__version__"))
    for name in lift.__all__:
        assert getattr(lift, name) is not None


def test_the_names_of_the_type_checker_are_those_of_the_runtime():
    """`__all__` and the imports under TYPE_CHECKING are literal; `_public` is what runs."""
    assert set(lift.__all__) == {*lift._public, "kernels"}


def test_importing_lift_does_not_import_torch():
    code = "import sys, lift; dir(lift); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
