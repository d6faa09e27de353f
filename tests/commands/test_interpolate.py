"""`lift interpolate` as a user runs it: exit codes, one-sentence errors, no partial output."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from lift.commands.interpolate import main
from lift.config import PRESETS, Config
from lift.errors import run
from lift.io.decode import open_frames
from lift.io.images import read_image
from lift.model.factory import create_lift_model
from lift.model.weights import save_weights
from tests.support.disk import largest_file
from tests.support.video_samples import moving_frames, write_folder, write_video

pytestmark = [pytest.mark.native, pytest.mark.videos]


def interpolate(*argv):
    return run(main, [str(a) for a in argv])


def test_a_video_gets_its_frame_rate_doubled_and_a_summary(tmp_path, checkpoint, capsys):
    pytest.importorskip("av")
    src = write_video(tmp_path / "in.mp4", moving_frames(4), sound=True)
    assert (
        interpolate(
            src, tmp_path / "out.mp4", "--checkpoint", checkpoint, "--multi", 2, "--device", "cpu"
        )
        == 0
    )
    out, err = capsys.readouterr()
    assert f"{tmp_path / 'out.mp4'}: 7 frames, 3 of them generated, 64x48 at 50 frames/s" in out
    assert "7/7" in err  # the progress bar
    assert open_frames(tmp_path / "out.mp4").count == 7


def test_flags_may_stand_between_the_names(tmp_path, checkpoint):
    pytest.importorskip("av")
    src = write_video(tmp_path / "in.mp4", moving_frames(4))
    flags = ("--checkpoint", checkpoint, "--device", "cpu", "--quiet")
    assert interpolate(*flags, src, "--multi", 3, tmp_path / "o.mp4", "--context_frames", 2) == 0
    assert open_frames(tmp_path / "o.mp4").count == 10


def test_timecodes_are_counted_at_the_rate_of_the_source(tmp_path, checkpoint, capsys):
    pytest.importorskip("av")
    src = write_video(tmp_path / "in.mp4", moving_frames(40), range(40), Fraction(1001, 30000))
    flags = ("--checkpoint", checkpoint, "--device", "cpu", "--quiet", "--context_frames", 2)
    part = "--trim=00:00:01;00-00:00:01;04"
    assert interpolate(src, tmp_path / "o.mp4", *flags, part) == 0
    assert open_frames(tmp_path / "o.mp4").count == 7
    assert interpolate(src, tmp_path / "p.mp4", *flags, "--trim=00:00:01:30:00:00:02:00") == 1
    assert "is not a timecode at 29.97 frames/s" in capsys.readouterr().err


@pytest.mark.parametrize(
    "rate, count", (("60", 13), ("60000/1001", 13), ("59.94", 13), ("12.5", 3))
)
def test_a_rate_may_be_given_in_any_form(tmp_path, checkpoint, rate, count):
    src = write_folder(tmp_path / "in", moving_frames(6))
    flags = ("--checkpoint", checkpoint, "--no_scenes", "--quiet", "--source_fps", 25)
    assert interpolate(src, tmp_path / "out", *flags, "--fps", rate) == 0
    assert open_frames(tmp_path / "out").count == count


@pytest.mark.parametrize("names", (("", "out"), ("in", "")))
def test_an_empty_name_is_an_error(names, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path / "in", moving_frames(2))
    assert interpolate(*names, "--overwrite") == 1
    assert "an empty name was given; give the names of IN and OUT" in capsys.readouterr().err


def test_a_link_as_output_stays_a_link(tmp_path, checkpoint):
    src = write_folder(tmp_path / "in", moving_frames(2))
    write_folder(tmp_path / "disk", moving_frames(1))
    (tmp_path / "out").symlink_to(tmp_path / "disk")
    flags = ("--checkpoint", checkpoint, "--no_scenes", "--quiet", "--overwrite")
    assert interpolate(src, tmp_path / "out", *flags) == 0
    assert (tmp_path / "out").is_symlink()
    assert open_frames(tmp_path / "disk").count == 3


def test_every_flag_is_taken(tmp_path, checkpoint):
    src = write_folder(tmp_path / "in", moving_frames(3))
    write_folder(tmp_path / "out", moving_frames(9))
    flags = (
        "--checkpoint",
        checkpoint,
        "--no_scenes",
        "--quiet",
        "--context_frames",
        3,
        "--multi",
        4,
        "--batch",
        2,
        "--reverse_average",
        "--kernels",
        "reference",
        "--device",
        "cpu",
        "--threads",
        1,
        "--dtype",
        "bfloat16",
        "--crf",
        20,
        "--overwrite",
    )
    assert interpolate(src, tmp_path / "out", *flags) == 0
    assert open_frames(tmp_path / "out").count == 9


def test_the_former_name_of_context_frames_is_accepted_with_a_warning(tmp_path, checkpoint, capsys):
    src = write_folder(tmp_path / "in", moving_frames(3))
    flags = ("--checkpoint", checkpoint, "--no-scenes", "--quiet", "--context", 2)
    assert interpolate(src, tmp_path / "out", *flags) == 0
    assert "warning: --context is now --context_frames" in capsys.readouterr().err


def test_the_precision_is_named_where_it_is_not_full(tmp_path, checkpoint, capsys):
    rng = np.random.default_rng(0)  # of noise, since smooth motion is found in any precision
    src = write_folder(
        tmp_path / "in", [rng.integers(0, 256, (32, 48, 3), np.uint8) for _ in range(3)]
    )
    results, always = {}, ("--checkpoint", checkpoint, "--no_scenes", "--quiet", "--device", "cpu")
    for flags in ((), ("--dtype", "float32"), ("--dtype", "bfloat16")):
        out = tmp_path / f"out{len(results)}"
        assert interpolate(src, out, *always, *flags) == 0
        results[flags[1:]] = list(open_frames(out).frames()), capsys.readouterr().out
    (auto, text), (whole, text32), (half, text16) = results.values()
    assert all(np.array_equal(a, b) for a, b in zip(auto, whole, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(auto, half, strict=True))
    assert "computed in" not in text + text32
    assert text16.rstrip().endswith("frames/s, computed in bfloat16")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory, checkpoint):
    """A folder of good and bad inputs, which no test may change."""
    folder = tmp_path_factory.mktemp("inputs")
    write_folder(folder / "good", moving_frames(4))
    write_folder(folder / "sizes", moving_frames(3))
    write_folder(folder / "sizes", moving_frames(1, 32, 32), first=4)
    write_folder(folder / "gap", moving_frames(4))
    (folder / "gap" / "im002.png").unlink()
    (folder / "void").mkdir()
    (folder / "text.mp4").write_text("no video")
    (folder / "zero.mp4").write_bytes(b"")
    content = checkpoint.read_bytes()
    (folder / "cut.safetensors").write_bytes(content[: len(content) // 2])
    (folder / "junk.safetensors").write_bytes(b"junk" * 100)
    save_weights(
        folder / "other.safetensors",
        create_lift_model("tiny"),
        Config(model=replace(PRESETS["tiny"](), c4=40)),
    )
    (folder / "taken.mp4").write_text("precious")
    write_folder(folder / "taken", moving_frames(2))
    return folder


BAD = [  # input, output, further flags, what the sentence says
    ("sizes", "out", (), "frames of two sizes"),
    ("gap", "out", (), "frame 2 is missing"),
    ("void", "out", (), "no frames in this folder"),
    ("text.mp4", "out.mp4", (), "text.mp4: not a readable video"),
    ("zero.mp4", "out.mp4", (), "zero.mp4: not a readable video"),
    ("nowhere.mp4", "out.mp4", (), "nowhere.mp4: no such file or folder"),
    ("good", "good", ("--overwrite",), "input and output are the same"),
    ("good", "taken", (), "not empty"),
    ("good", "taken.mp4", (), "this file exists"),
    ("good", "out.wmv", (), "videos are written as"),
    ("good", "out", ("--checkpoint", "nowhere.safetensors"), "nowhere.safetensors"),
    ("good", "out", ("--checkpoint", "cut.safetensors"), "cut.safetensors"),
    ("good", "out", ("--checkpoint", "junk.safetensors"), "junk.safetensors"),
    ("good", "out", ("--checkpoint", "other.safetensors"), "other.safetensors"),
    ("good", "out", ("--device", "gpu"), "--device"),
    ("good", "out", ("--device", "cpu", "--cuda_graph"), "--cuda_graph"),
    ("good", "out", ("--device", "cuda:99"), "--device"),
    ("good", "out.mp4", ("--crf", "77"), "crf must be 0"),
]


@pytest.mark.parametrize(
    "source, target, flags, message", BAD, ids=lambda v: v if isinstance(v, str) else None
)
def test_bad_input_is_one_sentence_and_changes_nothing(
    inputs, checkpoint, capsys, monkeypatch, source, target, flags, message
):
    if ".mp4" in source + target:
        pytest.importorskip("av")
    monkeypatch.chdir(inputs)
    before = {p: p.read_bytes() if p.is_file() else None for p in sorted(inputs.rglob("*"))}
    default = () if "--checkpoint" in flags else ("--checkpoint", checkpoint)
    assert interpolate(source, target, "--no_scenes", "--quiet", *default, *flags) == 1
    out, err = capsys.readouterr()
    assert err.startswith("lift: error: ") and message in err and err.count("\n") == 1 and out == ""
    assert {p: p.read_bytes() if p.is_file() else None for p in sorted(inputs.rglob("*"))} == before


@pytest.mark.parametrize(
    "flags",
    (
        ("--mutli", "2"),
        ("--multi", "1"),
        ("--multi", "x"),
        ("--context_frames", "16"),
        ("--fps", "0"),
        ("--fps", "fast"),
        ("--batch", "0"),
        ("--dtype", "int8"),
        ("--kernels", "best"),
    ),
)
def test_an_unknown_flag_or_value_exits_with_2(tmp_path, capsys, flags):
    write_folder(tmp_path / "in", moving_frames(2))
    with pytest.raises(SystemExit) as stop:
        interpolate(tmp_path / "in", tmp_path / "out", *flags)
    assert stop.value.code == 2 and flags[0] in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_full_disk_while_interpolating(tmp_path, checkpoint, capsys):
    pytest.importorskip("av")
    noise = list(np.random.default_rng(0).integers(0, 255, (12, 48, 64, 3), dtype=np.uint8))
    src = write_folder(tmp_path / "in", noise)
    for target in ("out.mp4", "out"):
        with largest_file(5_000):
            assert (
                interpolate(
                    src,
                    tmp_path / target,
                    "--checkpoint",
                    checkpoint,
                    "--no_scenes",
                    "--quiet",
                    "--context_frames",
                    2,
                )
                == 1
            )
        err = capsys.readouterr().err
        assert f"{target}: could not be written" in err and err.count("\n") == 1
        assert [p.name for p in tmp_path.iterdir()] == ["in"]


def test_images_are_frames_in_the_order_given(tmp_path, checkpoint):
    src = write_folder(tmp_path / "in", moving_frames(3))
    images = sorted(src.iterdir(), reverse=True)
    flags = ("--checkpoint", checkpoint, "--no_scenes", "--quiet")
    assert interpolate(*images, tmp_path / "out", *flags) == 0
    ends = [frame for frame, _ in open_frames(tmp_path / "out").timed()][::4]
    for frame, image in zip(ends, (images[0], images[2]), strict=True):
        assert np.array_equal(frame, read_image(image))


def test_a_single_image_is_an_error(tmp_path, capsys):
    src = write_folder(tmp_path / "in", moving_frames(2))
    image = min(src.iterdir())
    for inputs in ((image,), (image, src)):
        assert interpolate(*inputs, tmp_path / "out") == 1
        assert "a single image has no motion" in capsys.readouterr().err
