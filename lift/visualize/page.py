"""One HTML page with all pictures in it, which opens without a network.

Pictures are data URIs; there are no scripts, fonts or style sheets of others.
"""

import base64
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from urllib.parse import quote

import numpy as np

from lift.files import atomic
from lift.visualize.sheet import at_most_wide, encode_webp

GENERATOR = "lift visualize"  # how a page of this program is recognised
LOSSLESS = 101  # of WebP
SLIDER_WIDTH, SLIDER_QUALITY = 1280, 90  # pixels up to which images are lossless; quality beyond


@dataclass(frozen=True)
class Picture:
    """A figure on the page.

    Attributes:
        title: above it.
        caption: what is seen, and on which scale.
        alt: what it shows, for those who do not see it.
        webp: its bytes.
        size: width and height in pixels.
        files: paths of its files for a paper, relative to the page.
    """

    title: str
    caption: str
    alt: str
    webp: bytes
    size: tuple[int, int]
    files: tuple[str, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """Images of one size of which the reader chooses one with a slider.

    Attributes:
        title, caption: as of a `Picture`.
        images: (H, W, 3) uint8 by name, in the order of the slider; wide ones are reduced.
    """

    title: str
    caption: str
    images: dict[str, np.ndarray]


@dataclass(frozen=True)
class Section:
    """A heading with what follows it.

    Attributes:
        title: the heading.
        text: a paragraph below it; empty for none.
        parts: figures and comparisons.
        rows: a table, its first row the head; empty for none.
    """

    title: str
    text: str = ""
    parts: list[Picture | Comparison] = field(default_factory=list)
    rows: list[tuple[str, ...]] = field(default_factory=list)


def is_own_page(path: Path) -> bool:
    """Whether a file is a page that this program wrote."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return f'content="{GENERATOR}"' in file.read(2000)
    except OSError:
        return False


def write_page(
    path: str | Path, title: str, facts: dict[str, str], sections: list[Section]
) -> None:
    """Write the page.

    Args:
        path: the file.
        title: of the page.
        facts: what the pictures depend on, by name: weights, versions, the command.
        sections: in order; the table of contents lists them.

    Raises:
        OSError: the file cannot be written; an earlier file at `path` is unchanged.
    """
    contents = "".join(
        f'<li><a href="#s{i}">{escape(section.title)}</a></li>'
        for i, section in enumerate(sections)
    )
    facts_table = "".join(
        f"<tr><th>{escape(name)}</th><td><code>{escape(value)}</code></td></tr>"
        for name, value in facts.items()
    )
    body = "\n".join(_section(i, section) for i, section in enumerate(sections))
    page = f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="{GENERATOR}">
<title>{escape(title)}</title>
<link rel="icon" href="data:,">
<style>{STYLE}</style>
</head>
<body>
<header>
<h1>{escape(title)}</h1>
<table class="facts">{facts_table}</table>
</header>
<nav aria-label="Contents"><h2>Contents</h2><ol>{contents}</ol></nav>
<main>
{body}
</main>
<script>{SCRIPT}</script>
</body>
</html>
"""
    with atomic(path) as part:
        part.write_text(page, encoding="utf-8")


def _section(number: int, section: Section) -> str:
    text = f"<p>{escape(section.text)}</p>" if section.text else ""
    parts = "\n".join(
        _picture(part) if isinstance(part, Picture) else _comparison(f"c{number}-{i}", part)
        for i, part in enumerate(section.parts)
    )
    heading = f"<h2>{escape(section.title)}</h2>"
    return f'<section id="s{number}">{heading}{text}{_table(section.rows)}\n{parts}</section>'


def _table(rows: list[tuple[str, ...]]) -> str:
    if not rows:
        return ""
    head, *others = (
        "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in row)
        for tag, row in zip(["th"] + ["td"] * len(rows), rows, strict=False)
    )
    body = "".join(f"<tr>{row}</tr>" for row in others)
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>'


def _picture(picture: Picture) -> str:
    width, height = picture.size
    image = _image(picture.webp, picture.alt, width, height)
    files = ", ".join(
        f'<a href="{escape(quote(file))}">{escape(Path(file).name)}</a>' for file in picture.files
    )
    files = f' <span class="files">{files}</span>' if files else ""
    caption = f"<strong>{escape(picture.title)}.</strong> {escape(picture.caption)}{files}"
    return f"<figure>{image}<figcaption>{caption}</figcaption></figure>"


def _comparison(name: str, comparison: Comparison) -> str:
    images = "".join(
        f'<div class="layer{"" if i == 0 else " hidden"}">'
        + _slider_image(pixels, label)
        + "</div>"
        for i, (label, pixels) in enumerate(comparison.images.items())
    )
    labels = "".join(f"<span>{escape(label)}</span>" for label in comparison.images)
    count = len(comparison.images)
    first = escape(next(iter(comparison.images)))
    title = f"<strong>{escape(comparison.title)}.</strong> {escape(comparison.caption)}"
    return (
        f'<figure class="comparison" id="{name}"><div class="layers">{images}</div>'
        f'<input type="range" min="0" max="{count - 1}" value="0" step="1" '
        f'aria-label="{escape(comparison.title)}" aria-valuetext="{first}">'
        f'<div class="labels" aria-hidden="true">{labels}</div>'
        f"<figcaption>{title}</figcaption></figure>"
    )


def _slider_image(pixels: np.ndarray, label: str) -> str:
    """An image of a slider: lossless, or where it is large reduced and with losses."""
    height, width = pixels.shape[:2]
    quality = LOSSLESS if width <= SLIDER_WIDTH else SLIDER_QUALITY
    webp = encode_webp(at_most_wide(pixels, SLIDER_WIDTH), quality)
    return _image(webp, label, width, height)


def _image(webp: bytes, alt: str, width: int, height: int) -> str:
    data = base64.b64encode(webp).decode("ascii")
    return (
        f'<img alt="{escape(alt)}" width="{width}" height="{height}" '
        f'src="data:image/webp;base64,{data}">'
    )


STYLE = """
:root { color-scheme: light dark; --text: #1b1b1b; --back: #ffffff; --soft: #666666;
  --line: #d0d0d0; --link: #1a5fb4; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e6e6e6; --back: #161616; --soft: #a8a8a8; --line: #444444; --link: #8ab4f8; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--text); background: var(--back);
  max-width: 70rem; margin: 0 auto; padding: 1rem; }
a { color: var(--link); }
h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--line); }
nav h2 { margin-top: 1rem; border: 0; font-size: 1.1rem; }
table { border-collapse: collapse; font-size: 0.9rem; }
th, td { text-align: left; vertical-align: top; padding: 0.15rem 1rem 0.15rem 0; }
.facts th { font-weight: 600; white-space: nowrap; }
code { overflow-wrap: anywhere; }
.wide { overflow-x: auto; }
figure { margin: 1.5rem 0 2.5rem; }
figure img { max-width: 100%; height: auto; background: #ffffff; display: block; }
figcaption { font-size: 0.92rem; max-width: 60rem; margin-top: 0.4rem; }
.files { color: var(--soft); }
.layers { display: grid; }
.layers .layer { grid-area: 1 / 1; }
.layers .hidden { visibility: hidden; }
.comparison img { width: min(100%, 56rem); image-rendering: auto; }
.comparison input { width: min(100%, 56rem); margin: 0.5rem 0 0; }
.comparison .labels { display: flex; justify-content: space-between; width: min(100%, 56rem);
  font-size: 0.85rem; color: var(--soft); }
.comparison .labels .chosen { color: var(--text); font-weight: 600; }
@media print { nav, input { display: none; } }
"""

SCRIPT = """
for (const figure of document.querySelectorAll(".comparison")) {
  const slider = figure.querySelector("input");
  const layers = figure.querySelectorAll(".layer");
  const labels = figure.querySelectorAll(".labels span");
  const show = () => {
    layers.forEach((layer, i) => layer.classList.toggle("hidden", i !== Number(slider.value)));
    labels.forEach((label, i) => label.classList.toggle("chosen", i === Number(slider.value)));
    slider.setAttribute("aria-valuetext", labels[slider.value].textContent);
  };
  slider.addEventListener("input", show);
  show();
}
"""
