"""Modules of the model import each other in one direction."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import lift

ROOM = Path(lift.__file__).parent / "model"


def imports(path: Path) -> set[str]:
    """Modules of the model that a file imports, inside functions too."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    found = {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
    found |= {a.name for node in nodes if isinstance(node, ast.Import) for a in node.names}
    return {name.removeprefix("lift.model.") for name in found if name.startswith("lift.model.")}


def test_there_is_no_circle():
    graph = {path.stem: imports(path) for path in ROOM.glob("*.py")}
    order = list(TopologicalSorter(graph).static_order())
    assert order.index("lift") < order.index("weights") < order.index("factory")
