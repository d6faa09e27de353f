"""The folder of pictures: figures for a paper, and the page that shows them all.

Everything is written below a hidden folder first and moved to its place at the end, so that a run
that stops leaves the folder as it was.
"""

import os
import re
import shutil
import tempfile
from pathlib import Path
from types import TracebackType

from lift.errors import LiftError
from lift.files import write_error
from lift.visualize.page import Picture, Section, is_own_page, write_page
from lift.visualize.sheet import STYLE, preview, preview_size, save

PAGE_NAME, FIGURES = "index.html", "figures"


class Gallery:
    """Writes figures and the page; a context manager.

    Args:
        folder: where `index.html` and `figures/` go. Other files in it are left alone.
        formats: suffixes of the figures' files, of `sheet.FORMATS`.
        dpi: of the images in them.

    Raises:
        LiftError: the folder holds an index.html or figures that this program did not write, or
            cannot be written.
    """

    def __init__(self, folder: str | Path, formats: tuple[str, ...], dpi: int):
        self.folder, self.formats, self.dpi = Path(folder), formats, dpi
        self.count = 0
        self._names: set[str] = set()
        page, figures = self.folder / PAGE_NAME, self.folder / FIGURES
        if not is_own_page(page):
            for path in (page, figures):
                if path.is_file() or (path.is_dir() and any(path.iterdir())):
                    raise LiftError(
                        f"{path} exists and was not written by lift visualize; "
                        "choose another --output"
                    )
        self._is_new = not self.folder.exists()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._part = Path(tempfile.mkdtemp(prefix=".visualize-", dir=self.folder))
        except OSError as error:
            raise write_error(self.folder, error) from None

    def __enter__(self) -> "Gallery":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        shutil.rmtree(self._part, ignore_errors=True)
        if self._is_new and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def name(self, text: str) -> str:
        """A file name for a clip or a sample, unlike those before it, whatever the case."""
        stem = re.sub(r"[^\w.-]+", "_", text).strip("._")[:60] or "clip"
        name, number = stem, 1
        while name.lower() in self._names:
            number += 1
            name = f"{stem}_{number}"
        self._names.add(name.lower())
        return name

    def figure(self, name: str, draw, title: str, caption: str, alt: str) -> Picture:
        """Write a figure in all formats, and return it for the page.

        Args:
            name: of its files, without suffix.
            draw: makes the matplotlib figure.
            title, caption, alt: as of `Picture`.

        Raises:
            LiftError: a file cannot be written.
        """
        from matplotlib import rc_context

        with rc_context(STYLE):
            figure = draw()
            files = tuple(f"{FIGURES}/{name}.{suffix}" for suffix in self.formats)
            for file in files:
                try:
                    save(figure, self._part / file, self.dpi)
                except OSError as error:
                    raise write_error(self.folder / file, error) from None
            self.count += 1
            return Picture(title, caption, alt, preview(figure), preview_size(figure), files)

    def publish(self, title: str, facts: dict[str, str], sections: list[Section]) -> Path:
        """Move the figures to their place and write the page, the page last.

        Raises:
            LiftError: a file cannot be written.
        """
        page, place = self.folder / PAGE_NAME, self.folder
        try:
            write_page(self._part / PAGE_NAME, title, facts, sections)
            for file in sorted(self._part.glob(f"{FIGURES}/*")):
                place = self.folder / FIGURES / file.name
                place.parent.mkdir(exist_ok=True)
                os.replace(file, place)
            place = page
            os.replace(self._part / PAGE_NAME, page)
        except OSError as error:
            raise write_error(place, error) from None
        return page
