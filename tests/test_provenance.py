"""What names the sources that made a figure."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lift import provenance as origin

GIT = shutil.which("git")


def asked(folder: Path, **environment: str) -> str:
    """The commit as a copy of the module in `folder` finds it."""
    code = f"import runpy; print(runpy.run_path({str(folder / 'origin.py')!r})['commit']())"
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    ).stdout.strip()


@pytest.mark.skipif(not GIT, reason="needs git")
def test_the_commit_is_the_checkouts_and_a_plus_tells_of_changes(tmp_path):
    environment = {"PATH": str(Path(GIT).parent), "HOME": str(tmp_path), "LIFT_COMMIT": "told"}

    def git(*arguments):
        return subprocess.run(
            [GIT, "-c", "user.name=a", "-c", "user.email=b", *arguments],
            cwd=tmp_path,
            env=environment,
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()

    shutil.copy(origin.__file__, tmp_path / "origin.py")
    git("init", "-q")
    assert asked(tmp_path, **environment) == "told", (
        "a repository that does not hold the sources says nothing of them"
    )
    git("add", ".")
    git("commit", "-q", "-m", "first")
    assert asked(tmp_path, **environment) == git("rev-parse", "HEAD")
    (tmp_path / "origin.py").write_text((tmp_path / "origin.py").read_text() + "\n")
    assert asked(tmp_path, **environment) == git("rev-parse", "HEAD") + "+"


def test_a_copy_without_git_is_told(tmp_path):
    shutil.copy(origin.__file__, tmp_path / "origin.py")
    assert asked(tmp_path, LIFT_COMMIT="abc", PATH="") == "abc" and asked(tmp_path, PATH="") == ""


def test_the_processor_has_a_name():
    assert origin.processor()
