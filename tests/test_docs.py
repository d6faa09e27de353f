"""The documents: links resolve, commands and flags exist, Python examples name what LIFT has."""

import ast
import contextlib
import io
import re
from importlib.util import find_spec
from pathlib import Path

import pytest

import benchmarks.__main__ as benchmarks
import lift
from lift import kernels
from lift.cli import COMMANDS, command

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "benchmarks" / "README.md"])
OTHERS = {"git", "make", "tensorboard", "pip", "cd", "sudo", "export"}  # not LIFT's commands
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)


def blocks(*languages: str) -> list:
    return [
        pytest.param(text, id=f"{path.relative_to(ROOT)}:{text.splitlines()[0][:40]}")
        for path in DOCUMENTS
        for language, text in BLOCK.findall(path.read_text(encoding="utf-8"))
        if language in languages
    ]


def anchors(path: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", BLOCK.sub("", path.read_text(encoding="utf-8")), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(path):
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
        if target.startswith(("http://", "https://")):
            continue
        file, _, anchor = target.partition("#")
        there = (path.parent / file).resolve() if file else path
        assert there.exists(), f"{path.name}: {target}"
        assert not anchor or anchor in anchors(there), f"{path.name}: {target}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_lines_are_at_most_100_columns_outside_tables(path):
    text = path.read_text(encoding="utf-8")
    long = [line for line in text.splitlines() if len(line) > 100 and not line.startswith("|")]
    assert not [line for line in long if "](" not in line], long[0]


def helped(name: str) -> str:
    """What `lift NAME --help` prints; `lift bench` is `python -m benchmarks` in a process."""
    main = benchmarks.main if name == "bench" else command(name)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), pytest.raises(SystemExit):
        main(["--help"])
    return printed.getvalue()


@pytest.mark.parametrize("text", blocks("bash"))
def test_commands_and_their_flags_exist(text):
    for line in text.replace("\\\n", " ").splitlines():
        words = line.partition("#")[0].split()
        words = [word for word in words if "=" not in word or word.startswith("--")]
        if not words or words[0] in OTHERS or words[0].startswith(("benchmarks/", ".ci/")):
            continue
        if words[0] == "lift":
            name = words[1]
        else:
            module = words[words.index("-m") + 1] if "-m" in words else words[1]
            assert module.endswith(".py") or find_spec(module), f"{line}: no module {module}"
            name = module.removeprefix("lift.")
        if name in COMMANDS:
            text = helped(name)
            for word in words:
                if word.startswith("--") and words[0] != "torchrun":
                    assert word.split("=")[0] in text, f"{line}: lift {name} has no {word}"


def test_flags_in_the_text_exist():
    known = {"--no-build-isolation"} | {
        flag for name in COMMANDS for flag in re.findall(r"--\w+", helped(name))
    }
    for path in (ROOT / "README.md", *ROOT.glob("docs/*.md")):
        text = BLOCK.sub("", path.read_text(encoding="utf-8"))
        if path.name == "gpu-validation.md":  # flags of benchmarks/gpu.sh and of pytest
            continue
        for words in re.findall(r"`([^`]*)`", text):
            for flag in re.findall(r"--\w+", words):
                assert flag in known, f"{path.name}: {flag}"


def test_tests_that_the_documents_name_exist():
    named = [
        (path.name, *found)
        for path in DOCUMENTS
        for found in re.findall(r"`([\w/]+\.py)::(\w+)`", path.read_text(encoding="utf-8"))
    ]
    assert named
    for document, file, name in named:
        path = ROOT / "tests" / file
        assert path.is_file(), f"{document}: no {file}"
        assert f"\ndef {name}(" in path.read_text(encoding="utf-8"), f"{document}: {file} {name}"


def test_every_feature_of_the_comparison_has_a_test():
    text = (ROOT / "docs" / "video.md").read_text(encoding="utf-8")
    _, _, *rows = [
        line for line in text.partition("## Other tools")[2].splitlines() if line[:1] == "|"
    ]
    assert len(rows) > 30
    for row in rows:
        feature, *marks, test = (cell.strip() for cell in row.strip("|").split("|"))
        assert len(marks) == 7 and set(marks) <= {"y", "n", "?"}, feature
        assert "::" in test, feature


def test_the_training_loop_of_the_documents_runs(capsys):
    text = (ROOT / "docs" / "library.md").read_text(encoding="utf-8")
    code = next(code for language, code in BLOCK.findall(text) if language == "python")
    exec(compile(code, "docs/library.md", "exec"), {})
    losses = re.findall(r"loss (\S+), PSNR (\S+) dB", capsys.readouterr().out)
    assert len(losses) == 2 and all(float(psnr) > 20 for _, psnr in losses)


@pytest.mark.parametrize("text", blocks("python"))
def test_python_examples_name_what_lift_has(text):
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.module == "lift":
            for alias in node.names:
                assert alias.name == "kernels" or alias.name in lift.__all__
        if isinstance(node, ast.ImportFrom) and node.module == "lift.kernels":
            assert {alias.name for alias in node.names} <= set(kernels.__all__)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.value.id == "kernels":
                assert node.attr in kernels.__all__
