"""An HTML page as a parser sees it: what it loads, where it links, how its elements nest."""

import base64
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import cv2
import numpy as np

VOID = {"meta", "link", "img", "input", "br", "hr"}


class Page(HTMLParser):
    """A page on disk.

    Attributes:
        images: attributes of the img elements.
        fragments: of links within the page.
        ids: of all elements.
        text: all text.
    """

    def __init__(self, path: Path):
        super().__init__()
        self.path, self.source = path, path.read_text(encoding="utf-8")
        self.images, self.fragments, self.links, self.sources = [], [], [], []
        self.ids, self.text, self.open, self.faults = set(), "", [], []
        self.feed(self.source)
        self.close()

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        if "id" in found:
            assert found["id"] not in self.ids, f"two elements have the id {found['id']}"
            self.ids.add(found["id"])
        if tag == "img":
            self.images.append(found)
        if "src" in found:
            self.sources.append(found["src"])
        if "href" in found:
            target = found["href"]
            if target.startswith("#"):
                self.fragments.append(target[1:])
            elif tag == "link":
                self.sources.append(target)
            else:
                self.links.append(target)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}> at {self.getpos()}")

    def handle_data(self, data):
        self.text += data

    def check_offline(self) -> None:
        """Everything that the page loads is in it; links lead to files beside it."""
        for source in self.sources:
            assert source.startswith("data:"), source[:80]
        for image in self.images:
            data = np.frombuffer(base64.b64decode(image["src"].partition(",")[2]), np.uint8)
            assert cv2.imdecode(data, cv2.IMREAD_COLOR) is not None
            assert image["alt"]
        for link in self.links:
            assert "://" not in link and (self.path.parent / unquote(link)).is_file(), link
        assert set(self.fragments) <= self.ids
        for word in ("@import", "url(", "fetch(", "XMLHttpRequest"):
            assert word not in self.source, word

    def check_nesting(self) -> None:
        """Every element is closed, the inner ones first."""
        assert not self.faults and not self.open, (self.faults, self.open)
