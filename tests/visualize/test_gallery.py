"""The folder of pictures is complete or as it was."""

import pytest

from lift.errors import LiftError
from lift.visualize.gallery import Gallery
from lift.visualize.page import Section
from lift.visualize.sheet import Row, figure_of


def draw():
    return figure_of([Row([lambda axes: axes.plot([1, 2])])], width=1.0)


def fill(folder, name="a"):
    with Gallery(folder, ("png", "pdf"), 50) as gallery:
        picture = gallery.figure(gallery.name(name), draw, "title", "caption", "alt")
        return gallery.publish("Title", {}, [Section("part", "", [picture])])


def files(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_figures_and_page_are_written(tmp_path):
    page = fill(tmp_path / "new" / "pictures")
    assert files(page.parent) == {"index.html", "figures/a.png", "figures/a.pdf"}
    assert (page.parent / "figures/a.pdf").read_bytes().startswith(b"%PDF")


def test_a_second_run_replaces_its_own_and_nothing_else(tmp_path):
    fill(tmp_path, "a")
    (tmp_path / "notes.txt").write_text("mine")
    first = (tmp_path / "figures/a.png").read_bytes()
    fill(tmp_path, "b")
    fill(tmp_path, "a")
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert (tmp_path / "figures/a.png").read_bytes() == first  # no date in it
    assert {"figures/b.pdf", "index.html"} < files(tmp_path)


@pytest.mark.parametrize("existing", ("index.html", "figures/mine.png"))
def test_files_of_others_are_left_alone(tmp_path, existing):
    place = tmp_path / existing
    place.parent.mkdir(exist_ok=True)
    place.write_text("mine")
    with pytest.raises(LiftError, match="was not written by lift visualize"):
        fill(tmp_path)
    assert files(tmp_path) == {existing} and place.read_text() == "mine"


@pytest.mark.parametrize("error", (KeyboardInterrupt, LiftError))
def test_a_run_that_stops_leaves_the_folder_as_it_was(tmp_path, error):
    fill(tmp_path, "a")
    before = files(tmp_path)
    with pytest.raises(error), Gallery(tmp_path, ("png",), 50) as gallery:
        gallery.figure("b", draw, "title", "caption", "alt")
        raise error
    assert files(tmp_path) == before and not list(tmp_path.glob(".*"))


def test_a_new_folder_that_stays_empty_goes(tmp_path):
    with pytest.raises(KeyboardInterrupt), Gallery(tmp_path / "new", ("png",), 50):
        raise KeyboardInterrupt
    assert not (tmp_path / "new").exists()


def test_a_file_in_the_way_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LiftError, match="file.*could not be written"):
        fill(tmp_path / "file")


def test_names_are_distinct_and_safe(tmp_path):
    with Gallery(tmp_path, ("png",), 50) as gallery:
        names = [gallery.name(t) for t in ("Cat", "cat", "a/b: $c", "..", "ä " * 90, "")]
    assert names[:4] == ["Cat", "cat_2", "a_b_c", "clip"] and names[5] == "clip_2"
    assert len(names[4]) <= 60 and "/" not in "".join(names)
