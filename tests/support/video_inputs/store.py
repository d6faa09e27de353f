"""Inputs by name, each made once, when a test first asks for it."""

from pathlib import Path

import pytest


class Inputs:
    """`inputs("v01_vfr.mp4")` is the path of that file, which no test may change."""

    def __init__(self, folder: Path):
        from tests.support.video_inputs import (
            clocks,
            colors,
            damage,
            folders,
            formats,
            scenes,
            streams,
        )

        self.folder = folder
        self.makers = {}
        for module in (clocks, colors, damage, folders, formats, scenes, streams):
            self.makers |= module.MAKERS
        self._missing: dict[str, str] = {}

    def __call__(self, name: str) -> Path:
        """The path; the test is skipped where this PyAV cannot encode the file."""
        import av

        path = self.folder / name
        if name in self._missing:
            pytest.skip(self._missing[name])
        if not path.exists():
            try:
                self.makers[name](path, self)
            except av.codec.codec.UnknownCodecError as error:
                path.unlink(missing_ok=True)
                self._missing[name] = f"{name}: this PyAV has no encoder ({error})"
                pytest.skip(self._missing[name])
        return path
