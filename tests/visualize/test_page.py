"""The page holds everything it shows."""

import base64
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from lift.visualize.page import Comparison, Picture, Section, is_own_page, write_page
from lift.visualize.sheet import encode_webp
from tests.support.pages import Page

PIXELS = np.full((8, 12, 3), (200, 30, 90), np.uint8)
PICTURE = Picture(
    'a <b> & "c"', "caption < 5 %", 'alt "quoted"', encode_webp(PIXELS, 90), (12, 8), ("f/x y.png",)
)
SLIDER = Comparison("compare", "move", {"left": PIXELS, "<LIFT>": 255 - PIXELS})


@pytest.fixture
def page(tmp_path):
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "x y.png").write_bytes(b"")
    sections = [
        Section("First & <last>", "text", [PICTURE, SLIDER], [("a", "b"), ("1", "<2>")]),
        Section("Second"),
    ]
    write_page(tmp_path / "index.html", "Title <x>", {"command": "lift <a> && b"}, sections)
    return Page(tmp_path / "index.html")


def test_every_source_is_in_the_page_and_every_link_leads_somewhere(page):
    page.check_offline()
    assert len(page.images) == 3


def test_elements_are_closed_in_order(page):
    page.check_nesting()


def test_text_is_escaped(page):
    for text in ("Title <x>", "First & <last>", "lift <a> && b", "<2>", "caption < 5 %", "<LIFT>"):
        assert text in page.text, text


def test_pictures_have_texts_for_those_who_do_not_see_them(page):
    assert [image["alt"] for image in page.images] == ['alt "quoted"', "left", "<LIFT>"]
    assert all(int(image["width"]) == 12 and int(image["height"]) == 8 for image in page.images)


def test_images_of_a_slider_are_lossless():
    decoded = cv2.imdecode(np.frombuffer(encode_webp(PIXELS, 101), np.uint8), cv2.IMREAD_COLOR)
    noise = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    again = cv2.imdecode(np.frombuffer(encode_webp(noise, 101), np.uint8), cv2.IMREAD_COLOR)
    assert (decoded[..., ::-1] == PIXELS).all() and (again[..., ::-1] == noise).all()


def test_wide_images_of_a_slider_are_reduced(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (512, 2560, 3), np.uint8)
    section = Section("s", "", [Comparison("c", "", {"a": noise})])
    write_page(tmp_path / "index.html", "t", {}, [section])
    image = Page(tmp_path / "index.html").images[0]
    assert (image["width"], image["height"]) == ("2560", "512")  # of the frame
    data = base64.b64decode(image["src"].partition(",")[2])
    shape = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).shape
    assert shape == (256, 1280, 3) and len(data) < noise.nbytes / 8


def test_contents_name_the_sections(page):
    assert page.fragments == ["s0", "s1"] and {"s0", "s1"} <= page.ids


def test_own_pages_are_recognised(page, tmp_path):
    assert is_own_page(tmp_path / "index.html")
    (tmp_path / "other.html").write_text("<!DOCTYPE html><title>lift visualize</title>")
    assert not is_own_page(tmp_path / "other.html") and not is_own_page(tmp_path / "none.html")


def test_the_parser_of_these_tests_finds_faults(tmp_path):
    bad = tmp_path / "bad.html"
    bad.write_text('<p><img src="https://example.org/a.png"></p>')
    with pytest.raises(AssertionError):
        Page(bad).check_offline()
    bad.write_text("<div><p></div></p>")
    with pytest.raises(AssertionError):
        Page(bad).check_nesting()
    assert issubclass(Page, HTMLParser)
