"""The packages of the project: which may import which, and how long a file may be."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("lift", "kernels", "benchmarks", "tests")
FILES = {
    path.relative_to(ROOT): path for package in PACKAGES for path in (ROOT / package).rglob("*.py")
}
LONGEST = 500  # lines


def imports(path: Path):
    """Names of the modules and of the names in them that a file imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}:{node.lineno}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def source(name: str) -> Path | None:
    """The file that an imported name of this project comes from."""
    parts = name.split(".")
    if parts[:2] == ["lift", "kernels"]:
        parts = parts[1:]
    for count in range(len(parts), 0, -1):
        stem = Path(*parts[:count])
        for path in (stem.with_suffix(".py"), stem / "__init__.py"):
            if path in FILES:
                return path
    return None


@pytest.mark.slow
def test_imports_are_absolute_and_point_downwards():
    for relative, path in FILES.items():
        for name in imports(path):
            below = source(name)
            if below is None:
                continue
            here, there = relative.parts[0], below.parts[0]
            assert here != "kernels" or there == "kernels" or below == Path("lift/__init__.py"), (
                f"{relative} imports {name}: kernels know nothing of the model"
            )
            assert here != "lift" or there in ("lift", "kernels"), f"{relative} imports {name}"
            assert here == "tests" or there != "tests", f"{relative} imports {name}"


def test_no_test_imports_a_test():
    for relative, path in FILES.items():
        if relative.parts[0] == "tests":
            for name in imports(path):
                below = source(name)
                assert below is None or not below.name.startswith("test_"), f"{relative}: {name}"


@pytest.mark.slow
@pytest.mark.parametrize("package", ("lift", "kernels", "benchmarks"))
@pytest.mark.parametrize("by_package", (True, False), ids=("packages", "files"))
def test_no_circle(package, by_package):
    def node(path: Path) -> str:
        return path.parts[1] if by_package else str(path)

    graph: dict[str, set[str]] = {}
    for relative, path in FILES.items():
        if relative.parts[0] == package and relative.name != "__init__.py":
            for name in imports(path):
                below = source(name)
                if below and below.parts[0] == package and node(below) != node(relative):
                    graph.setdefault(node(relative), set()).add(node(below))
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_files_are_short():
    for folder in (*PACKAGES, "csrc"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in (".py", ".cpp", ".h", ".cu", ".sh"):
                lines = len(path.read_text(encoding="utf-8").splitlines())
                assert lines <= LONGEST, f"{path.relative_to(ROOT)} has {lines} lines"
