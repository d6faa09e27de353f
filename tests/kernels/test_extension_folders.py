"""Where the kernels are built: read-only places, LIFT_BUILD_DIR, builds at once, uninstalling."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from lift.kernels.extension import build, folders
from lift.kernels.extension.requirements import BuildError, Requirements


@pytest.fixture(autouse=True)
def no_build_dir(monkeypatch):
    monkeypatch.delenv("LIFT_BUILD_DIR", raising=False)


@pytest.fixture
def read_only(tmp_path, monkeypatch) -> Path:
    """A folder on a file system that takes no new files."""
    folder = tmp_path / "read only"
    folder.mkdir()
    make = folders.tempfile.TemporaryFile

    def temporary_file(dir):
        if Path(dir).is_relative_to(folder):
            raise OSError(30, "Read-only file system", str(dir))
        return make(dir=dir)

    monkeypatch.setattr(folders.tempfile, "TemporaryFile", temporary_file)
    return folder


@pytest.fixture
def installed(tmp_path, monkeypatch) -> Path:
    """The kernels of an installed LIFT, with the RECORD of what pip installed."""
    site = tmp_path / "site packages"
    package = site / "lift" / "kernels"
    package.mkdir(parents=True)
    information = site / "lift_vfi-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: lift-vfi\nVersion: 1.0\n")
    (information / "RECORD").write_text(
        "lift/kernels/__init__.py,,\nlift_vfi-1.0.dist-info/RECORD,,\n"
    )
    monkeypatch.setattr(sys, "path", [str(site)])
    monkeypatch.setattr(folders, "PACKAGE", package)
    return package


def fake_ninja(tmp_path: Path, body: str) -> list[str]:
    """A ninja that has a version, and for a build runs a line of shell in the build folder."""
    ninja = tmp_path / "a ninja"
    ninja.write_text(f'#!/bin/sh\n[ "$1" = --version ] && exit 0\ncd "$2"\n{body}\n')
    ninja.chmod(ninja.stat().st_mode | stat.S_IXUSR)
    return [str(ninja)]


def needed(tmp_path: Path, ninja: list[str]) -> Requirements:
    return Requirements(["c++"], ninja, tmp_path / "torch", tmp_path / "pybind11")


# -- places that cannot be written -----------------------------------------------------------------


def test_a_read_only_package_is_reported_before_anything_is_compiled(read_only, tmp_path):
    ninja = fake_ninja(tmp_path, f'touch "{tmp_path}/compiled"')
    with pytest.raises(BuildError) as failure:
        build.build(read_only / "_C.so", needed=needed(tmp_path, ninja))
    assert str(failure.value) == (
        f"{read_only} cannot be written (Read-only file system); "
        "set LIFT_BUILD_DIR to a folder that can, here and where LIFT runs"
    )
    assert not (tmp_path / "compiled").exists()


def test_a_build_folder_that_cannot_be_written_is_reported(read_only, monkeypatch, tmp_path):
    monkeypatch.setenv("LIFT_BUILD_DIR", str(read_only))
    with pytest.raises(BuildError, match="; LIFT_BUILD_DIR must name a folder that can$"):
        build.build(needed=needed(tmp_path, fake_ninja(tmp_path, "exit 1")))
    monkeypatch.setenv("LIFT_BUILD_DIR", str(tmp_path / "a ninja"))  # a file
    with pytest.raises(BuildError, match="cannot be written"):
        folders.check_writable(folders.build_dir())


def test_a_read_only_checkout_is_built_in_a_temporary_folder(read_only, monkeypatch):
    (read_only / "setup.py").touch()
    monkeypatch.setattr(folders, "SOURCES", read_only / "csrc")
    with folders.build_folder() as folder:
        assert folder.is_dir() and not folder.is_relative_to(read_only)
    assert not folder.exists()


# -- LIFT_BUILD_DIR --------------------------------------------------------------------------------


def test_the_build_folder_takes_objects_and_the_module(read_only, monkeypatch, tmp_path):
    monkeypatch.setenv("LIFT_BUILD_DIR", str(tmp_path / "my builds"))
    monkeypatch.setattr(build, "MODULE", read_only / "_C.so")
    ninja = fake_ninja(tmp_path, "echo module > _C.so; echo object > kernel.o")
    module = build.build(needed=needed(tmp_path, ninja))
    assert module == tmp_path / "my builds" / build.fingerprint() / "_C.so"
    assert module.read_text() == "module\n"
    assert [path.read_text() for path in module.parent.parent.glob("extension-*/*.o")] == [
        "object\n"
    ]


def test_the_module_in_the_build_folder_is_preferred(monkeypatch, tmp_path):
    place = tmp_path / "_C.so"
    assert folders.existing(place, lambda: "hash") == place
    monkeypatch.setenv("LIFT_BUILD_DIR", str(tmp_path / "builds"))
    assert folders.existing(place, lambda: "hash") == place
    built = tmp_path / "builds" / "hash" / "_C.so"
    built.parent.mkdir(parents=True)
    built.touch()
    assert folders.existing(place, lambda: "hash") == built


# -- builds at once --------------------------------------------------------------------------------


# The modules of a build need no torch, whose import would take most of the time.
PROGRAM = """
import sys, types
from pathlib import Path
package, ninja, module = sys.argv[1:]
for name, folder in ("lift", ".."), ("lift.kernels", "."), ("lift.kernels.extension", "extension"):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = [str(Path(package, folder))]
from lift.kernels.extension.build import build
from lift.kernels.extension.requirements import Requirements
build(Path(module), needed=Requirements(["c++"], [ninja], Path("torch"), Path("pybind11")))
"""


def test_two_builds_at_once_wait_for_each_other(monkeypatch, tmp_path, capfd):
    monkeypatch.setenv("LIFT_BUILD_DIR", str(tmp_path))
    body = "mkdir running || exit 1; sleep 0.5; rmdir running; echo module > _C.so"
    ninja, module = fake_ninja(tmp_path, body)[0], tmp_path / "_C.so"
    command = [sys.executable, "-c", PROGRAM, folders.PACKAGE, ninja, module]
    runs = [subprocess.Popen(command) for _ in range(2)]
    assert [run.wait() for run in runs] == [0, 0]
    assert module.read_text() == "module\n" and not list(tmp_path.glob("**/*.part"))
    assert capfd.readouterr().err.count("this one waits for it") == 1


# -- uninstalling ----------------------------------------------------------------------------------


def test_what_is_built_in_an_installed_lift_is_recorded_once(installed):
    module = installed / "_C.so"
    for _ in range(2):
        folders.record_as_installed(module, installed / "_cuda,1.so")
    record = installed.parents[1] / "lift_vfi-1.0.dist-info" / "RECORD"
    assert record.read_text() == (
        "lift/kernels/__init__.py,,\nlift_vfi-1.0.dist-info/RECORD,,\n"
        'lift/kernels/_C.so,,\n"lift/kernels/_cuda,1.so",,\n'
    )


def test_what_is_built_elsewhere_is_not_recorded(installed, monkeypatch, tmp_path):
    record = installed.parents[1] / "lift_vfi-1.0.dist-info" / "RECORD"
    before = record.read_text()
    folders.record_as_installed(tmp_path / "_C.so")
    monkeypatch.setattr(folders, "PACKAGE", tmp_path / "checkout" / "kernels")
    folders.record_as_installed(installed / "_C.so")
    assert record.read_text() == before


def test_a_record_that_cannot_be_written_does_not_stop_a_build(installed, monkeypatch):
    def refused(path, content):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(folders, "replace", refused)
    folders.record_as_installed(installed / "_C.so")


def test_a_file_that_cannot_be_replaced_stays(tmp_path, monkeypatch):
    path = tmp_path / "_C.so"
    path.write_text("old")

    def refused(part, path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", refused)
    with pytest.raises(OSError, match="No space"):
        folders.replace(path, b"new")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("_C.so", "old")]
