"""Public names, flags, messages and docstrings use the terms of docs/glossary.md."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted(
    path
    for package in ("lift", "kernels", "benchmarks")
    for path in (ROOT / package).rglob("*.py")
    if path.name != "old_names.py"  # where old names are mapped to new ones
)

# Words that were replaced; as whole names of functions, classes, parameters, fields or constants.
RETIRED = set(
    """
    BELIEVED BESIDE CARDS Card Ending FAINT Figures Gap Gaps Held Implementation Journal Kept
    LEAST LONG MIRROR Matches Means Measured Multiple Neighbours OWN Outcome PLACE Part Past Piece
    Preloaded Processes REACH REPEATED Refused Ring SHORTEST STEEP STILL SharedClips SharedSample
    Shown Silence Standing TIME Uncountable WIDE activate arithmetic attach bend bent believed
    card cards change_between coordinate_dtype cover empty_gradients empty_image fill
    further_specialisations given grid_sample_by_hand held_back join kinds lowered moments
    moved of_triton plain planned promoted ready recomputed scaled specialisations spelled
    statistic still still8 told widened
    """.split()
)

# Phrases that read like a translation, each with the plain one.
PHRASES = {
    r"\bserve[sd]?\b|\bserving\b": "supports, is selected",
    r"\btold\b|\btells\b": "shows, states",
    r"\bmade (frame|video)s?\b": "generated frame",
    r"\btimes as fast\b": "speedup over",
    r"\bkept for backward\b": "saved for backward",
    r"\bby heart\b": "overfit",
    r"\btakes? of (a|the|every) GPU\b": "resource usage",
    r"(?<![Mm]odel )(?<!graphics )\bcards?\b": "GPU",
    r"\bof (no )?worth\b": "useful",
    r"\ball free\b": "encoder trainable",
    r"\bon by (itself|themselves)\b": "default",
}


def names(tree: ast.Module):
    """(line, name) of everything public that a module defines."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.lineno, node.name
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            for argument in [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]:
                yield node.lineno, argument.arg
        if isinstance(node, ast.ClassDef):
            for field in node.body:
                if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                    yield field.lineno, field.target.id
        if isinstance(node, ast.Assign) and node.col_offset == 0:
            for target in node.targets:
                if isinstance(target, ast.Name):
                    yield node.lineno, target.id


def texts(tree: ast.Module):
    """(line, text) of first paragraphs of docstrings, and of messages: texts with a space."""
    docstrings = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef):
            if text := ast.get_docstring(node):
                docstrings.add(id(node.body[0].value))
                yield node.body[0].lineno, text.split("\n\n")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            deprecation = " is deprecated" in node.value
            if id(node) not in docstrings and not deprecation and " " in node.value.strip():
                yield node.lineno, node.value


@pytest.mark.slow
@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_names_and_texts_use_the_glossary(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = [f"{line}: name '{name}'" for line, name in names(tree) if name in RETIRED]
    for line, text in texts(tree):
        for phrase, plain in PHRASES.items():
            if match := re.search(phrase, text):
                found.append(f"{line}: '{match[0]}', say: {plain}")
    assert not found, "\n".join([str(path.relative_to(ROOT)), *found])


def test_every_flag_has_a_name_of_the_glossary():
    flags = re.compile(r'"--(no_)?([a-z_]+)"')
    found = {
        f"{path.relative_to(ROOT)}: --{name}"
        for path in SOURCES
        for line in path.read_text(encoding="utf-8").splitlines()
        for _, name in flags.findall(line)
        if "deprecated_flags" not in line
        and name in RETIRED | {"context", "flow", "coarse", "cascade", "census", "init", "ema"}
    }
    assert not found, "\n".join(sorted(found))
