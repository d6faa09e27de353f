"""Where figures and weights come from: the sources' commit and the processor."""

import os
import platform
import subprocess
from pathlib import Path


def commit() -> str:
    """The commit of the checkout, with a + where files differ from it; in a copy without git what
    LIFT_COMMIT says, else empty.
    """

    def git(*arguments: str) -> str:
        ran = subprocess.run(
            ["git", "--no-optional-locks", *arguments],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
        )
        return ran.stdout.strip() if ran.returncode == 0 else ""

    try:
        found = (
            git("rev-parse", "HEAD") if git("ls-files", Path(__file__).name) else ""
        )  # not of a repository around an installed LIFT
        found += "+" if found and git("status", "--porcelain", "--untracked-files=no") else ""
    except OSError:  # no git
        found = ""
    return found or os.environ.get("LIFT_COMMIT", "")


def processor() -> str:
    """The processor's name."""
    try:
        with open("/proc/cpuinfo") as file:
            return next(
                line.split(":", 1)[1].strip() for line in file if line.startswith("model name")
            )
    except (OSError, StopIteration):
        return platform.processor() or "unknown"
