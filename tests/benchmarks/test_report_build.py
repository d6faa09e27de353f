"""Generated parts of documents and charts are what the recorded results give."""

import pytest
from PIL import Image

from benchmarks.report import build
from benchmarks.report.documents import filled
from benchmarks.report.results import IncompatibleRuns, measurements
from tests.support.recorded_results import OTHER, ROW, ROWS, on_a_cpu, write_results


def document(tmp_path, *names: str):
    path = tmp_path / "README.md"
    path.write_text(
        "Before.\n"
        + "".join(f"<!-- report: {name} -->\nold\n<!-- report: end -->\nProse.\n" for name in names)
    )
    return path


def test_only_what_is_between_the_markers_changes(tmp_path):
    found = [measurements(write_results(tmp_path / "h200"))]
    path = document(tmp_path, "machines", "targets", "summary", "h200 warp_blend")
    text = filled(path, found)
    assert (
        text.startswith("Before.\n<!-- report: machines -->\n| measured on |")
        and "old" not in text
        and text.count("Prose.\n") == 4
    )
    assert (
        "[h200](h200/report.md)" in text
        and "![Speedup of the fused" in text
        and "(h200/speedups.png)" in text
    )
    assert "| h200 | `warp_blend`, forward+backward | eager 2.0x | 25% |" in text
    assert "| (1, 3, 1080, 1920) | forward | 2.0 |" in text
    path.write_text(text)
    assert filled(path, found) == text  # and the second time nothing


def test_threads_of_a_file_have_their_shares_of_the_run(tmp_path):
    path = document(tmp_path, "threads")
    assert "Not recorded yet" in filled(path, [measurements(write_results(tmp_path / "h200"))])
    seconds = {"reader": 1.0, "model": 3.6, "transfer": 0.0, "writer": 2.0, "rest": 0.2}
    facts = {"seconds_by_thread": seconds, "frames_per_second": 2.5, "median": 4.0}
    row = ROW | {"operation": "file", "variant": "fused", "shape": [1, 3, 720, 1280]} | facts
    found = [measurements(write_results(tmp_path / "other", [row, row | {"variant": "reference"}]))]
    line = "| other | 1280 × 720 | fused | 2.50 | 25% | 90% | 0% | 50% | 5% |"
    assert line in filled(path, found)


@pytest.mark.slow
def test_a_gpu_gets_its_sections_in_the_documents(tmp_path, monkeypatch, capsys):
    results, documents = tmp_path / "results", (tmp_path / "README.md", tmp_path / "more.md")
    results.mkdir()
    write_results(results / "cpu", [on_a_cpu(row) for row in ROWS], gpu=None)
    documents[0].write_text("<!-- report: summary -->\n<!-- report: end -->\n")
    documents[1].write_text("<!-- report: projections -->\n<!-- report: end -->\nProse.\n")
    monkeypatch.setattr(build, "RESULTS", results)
    monkeypatch.setattr(build, "INDEX", documents[1])
    monkeypatch.setattr(build, "documents", lambda: documents)
    assert build.main([]) == 0
    assert (
        "Nothing is projected" in documents[1].read_text()
        and "cpu warp_blend" not in documents[1].read_text()
    )

    folder = write_results(results / "h200", ROWS)
    assert (
        build.main(["--check"]) == 1
        and "more.md is not what the recorded results give" in capsys.readouterr().err
    )
    assert build.main([str(folder), "--documents"]) == 0 and build.main(["--check"]) == 0
    page, short = documents[1].read_text(), documents[0].read_text()
    assert (
        "Prose.\n\n## Measured on NVIDIA H200\n\n"
        "<!-- report: h200 warp_blend -->\nSpeedup over eager" in page
    )
    assert (
        "| measured on | machine | recorded | commit | torch | Triton | CUDA | driver | clock, MHz | memory clock, MHz |"  # noqa: E501
        in short
    )
    assert (
        "| 2026-11-24 | 0123456789+ | 2.13.0+cu130 | 3.7.1 | 13.0 | 1.2 | 1980 to 1755 | 3201 |"
        in short
    )
    assert "~" in page.split("Prose.")[0] and "| H200, 26% |" in page

    write_results(folder, [*ROWS, ROW | {"operation": "grid_sample", "variant": "cuda"}])
    assert build.main([]) == 0
    page = documents[1].read_text()
    assert page.count("## Measured on NVIDIA H200") == 1 and page.index(
        "h200 warp_blend -->"
    ) < page.index("h200 grid_sample -->")
    elsewhere = write_results(tmp_path / "elsewhere")
    assert (
        build.main([str(elsewhere), "--documents"]) == 0
        and "elsewhere" not in documents[0].read_text()
    )


def test_a_marker_without_results_is_an_error(tmp_path):
    found = [measurements(write_results(tmp_path / "h200"))]
    with pytest.raises(
        IncompatibleRuns,
        match="no results are recorded for the marker 'cpu grid_sample'; "
        "choose from .* h200 warp_blend",
    ):
        filled(document(tmp_path, "cpu grid_sample"), found)


@pytest.mark.slow
def test_pictures_are_drawn_once_from_their_rows(tmp_path):
    folder = write_results(tmp_path / "h200")
    assert build.main([str(folder)]) == 0
    drawn = sorted(path.name for path in folder.glob("*.png"))
    assert drawn == ["memory.png", "roofline.png", "speedups.png", "speedups_warp_blend.png"]
    assert all(min(Image.open(folder / name).size) > 100 for name in drawn)
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert build.main([str(folder)]) == 0 and before == {
        path: path.stat().st_mtime_ns for path in folder.iterdir()
    }


@pytest.mark.slow
def test_the_check_finds_what_is_out_of_date(tmp_path, capsys):
    folder = write_results(tmp_path / "h200")
    assert build.main([str(folder)]) == 0 and build.main([str(folder), "--check"]) == 0
    write_results(folder, [*ROWS[2:], ROW, OTHER | {"median": 3e-4}])
    assert build.main([str(folder), "--check"]) == 1
    said = capsys.readouterr().err
    assert (
        "report.md is not what the recorded results give; run `make report`" in said
        and "speedups.png is not" in said
    )
    (folder / "memory.png").unlink()
    assert (
        build.main([str(folder)]) == 0
        and build.main([str(folder), "--check"]) == 0
        and (folder / "memory.png").exists()
    )
    write_results(folder, ROWS[:1])  # what is not recorded any more has no picture
    Image.new("RGB", (4, 4)).save(folder / "other.png")
    assert (
        build.main([str(folder), "--check"]) == 1
        and build.main([str(folder)]) == 0
        and build.main([str(folder), "--check"]) == 0
    )
    assert sorted(path.name for path in folder.glob("*.png")) == ["other.png", "roofline.png"]


@pytest.mark.slow
def test_the_documents_show_what_was_recorded():
    assert build.main(["--check"]) == 0
