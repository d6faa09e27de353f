"""What names the sources that made a figure."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from lift import provenance

GIT = shutil.which("git")


@pytest.fixture
def copied(tmp_path, monkeypatch) -> Path:
    """A folder whose copy of the module is asked for its commit."""
    shutil.copy(provenance.__file__, tmp_path / "provenance.py")
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "provenance.py"))
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.mark.skipif(not GIT, reason="needs git")
def test_the_commit_is_the_checkouts_and_a_plus_marks_changes(copied, monkeypatch):
    monkeypatch.setenv("LIFT_COMMIT", "given")

    def git(*arguments):
        command = [GIT, "-c", "user.name=a", "-c", "user.email=b", *arguments]
        ran = subprocess.run(command, cwd=copied, check=True, capture_output=True, text=True)
        return ran.stdout.strip()

    git("init", "-q")
    assert provenance.commit() == "given", "a repository that does not track the sources"
    git("add", ".")
    git("commit", "-q", "-m", "first")
    assert provenance.commit() == git("rev-parse", "HEAD")
    with open(copied / "provenance.py", "a") as file:
        file.write("\n")
    assert provenance.commit() == git("rev-parse", "HEAD") + "+"


def test_a_copy_without_git_takes_its_commit_from_the_environment(copied, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert provenance.commit() == os.environ.get("LIFT_COMMIT", "")
    monkeypatch.setenv("LIFT_COMMIT", "abc")
    assert provenance.commit() == "abc"


def test_the_processor_has_a_name():
    assert provenance.processor()


def test_the_machine_lists_versions_and_devices():
    facts = provenance.machine()
    assert {"lift", "torch", "CPU", "C++ kernels"} <= facts.keys()
    assert any(name.startswith("GPU") for name in facts) and all(facts.values())


def test_scores_name_their_weights(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(b"weights")
    found = provenance.of_scores(tmp_path / "a.safetensors")
    assert found["weights"]["file"] == "a.safetensors" and len(found["weights"]["sha256"]) == 64
    assert found["made_by"].keys() == provenance.of_scores(None)["made_by"].keys()


def test_the_history_of_an_early_checkpoint_counts_its_steps():
    assert provenance.stored_history({"step": 7, "elapsed": 3.5}) == [
        {"commit": "", "hardware": "", "torch": "", "precision": "", "steps": 7, "seconds": 3.5}
    ]
