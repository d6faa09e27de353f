"""Folders that can never be written are found before any work."""

import os

import pytest

from lift.errors import LiftError
from lift.files import check_folder


def test_a_folder_that_is_missing_can_be_made(tmp_path):
    check_folder(tmp_path / "runs" / "a")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["taken", "taken/below"])
def test_a_file_in_its_place_or_above_it_is_an_error(tmp_path, name):
    (tmp_path / "taken").touch()
    with pytest.raises(LiftError, match=f"{name}: .* is a file, not a folder"):
        check_folder(tmp_path / name)


def test_a_folder_without_permission_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(LiftError, match="no permission to write there; choose another folder"):
        check_folder(tmp_path)
