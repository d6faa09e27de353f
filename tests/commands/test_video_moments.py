"""Where frames are generated: never across a cut, and in place of duplicates on request."""

import numpy as np
import pytest

from tests.support import video_output as out
from tests.support.video_checks import Row, doubled, frames, picture_ends_at, rising, table

pytestmark = pytest.mark.videos

FINE = ("--crf", 4)
NOT_BLENDED = 44  # dB to the nearer original; a blend of two shots has about 20


# -- cuts ------------------------------------------------------------------------------------------

CUTS = {  # first frame of each shot after the first
    "c1_cut.mp4": (7,),
    "c1_clip.mp4": (7,),
    "c2_first.mp4": (1,),
    "c2_last.mp4": (9,),
    "c3_cuts3.mp4": (3, 6, 9, 12),
    "c3_cuts2.mp4": (2, 4, 6, 8, 10),
    "c3_insert.mp4": (7, 8),
    "c4_dark.mp4": (7,),
    "c7_flash.mp4": (7, 8),
    "c7_strobe.mp4": (2, 3, 6, 7, 10, 11),
    "c11_jump.mp4": (7,),
    "c12_black1.mp4": (7, 8),
}


@pytest.mark.parametrize("name", CUTS, ids=lambda name: f"V21-{name}")
def test_nothing_is_blended_across_a_cut(lift_file, name):
    run = lift_file(name, "o.mkv", *FINE)
    source, target = out.pictures(run.source), out.pictures(run.output)
    assert len(target) == 2 * len(source) - 1
    for first in CUTS[name]:
        generated = target[2 * first - 1]
        nearer = max(out.psnr(generated, source[k]) for k in (first - 1, first))
        assert nearer >= NOT_BLENDED, (first, nearer)


@pytest.mark.parametrize("name", ("c1_cut.mp4", "c3_cuts3.mp4"), ids=lambda name: f"V21-{name}")
def test_frames_within_a_shot_are_generated(lift_file, name):
    run = lift_file(name, "o.mkv", *FINE)
    source, target = out.pictures(run.source), out.pictures(run.output)
    inside = [k for k in range(1, len(source)) if k not in CUTS[name]]
    for k in inside:
        both = [out.psnr(target[2 * k - 1], source[k + side]) for side in (-1, 0)]
        assert max(both) < NOT_BLENDED, (k, both)
    assert f"{len(CUTS[name])} scene cut" in run.out


@pytest.mark.parametrize("name", ("c5_xfade.mp4", "c6_fade.mp4"), ids=lambda name: f"V21-{name}")
def test_fades_are_no_cuts(lift_file, name):
    run = lift_file(name, "o.mkv", *FINE)
    assert run.code == 0 and "scene cut" not in run.out


def test_V21_listed_cuts_can_be_given_again(lift_file, capsys, inputs, tmp_path):
    from lift.commands.interpolate import main
    from lift.errors import run as run_command

    capsys.readouterr()
    assert run_command(main, ["--list_cuts", str(inputs("c1_cut.mp4"))]) == 0
    listed = capsys.readouterr().out
    assert "7" in listed
    cuts = inputs.folder / "cuts.txt"
    cuts.write_text(listed)
    run = lift_file("c1_cut.mp4", "o.mkv", "--cuts", cuts, *FINE)
    assert run.code == 0 and "1 scene cut" in run.out
    cuts.write_text("")
    run = lift_file("c1_cut.mp4", "p.mkv", "--cuts", cuts, *FINE)
    assert run.code == 0 and "scene cut" not in run.out


def test_cuts_behind_the_end_are_noted(lift_file, tmp_path):
    cuts = tmp_path / "cuts.txt"
    cuts.write_text("5\n40\n7.5s\n")
    run = lift_file("c1_cut.mp4", "o.mkv", "--cuts", cuts)
    assert run.code == 0 and run.noted("2 cuts of the list lie behind the last frame (frame ")
    run = lift_file("c1_cut.mp4", "p.mkv", "--cuts", cuts, "--trim", "0:0.3")
    assert run.code == 0 and not run.noted("behind the last")
    run = lift_file("c1_cut.mp4", "q.mkv", "--gaps", "sort")
    assert run.code == 0 and run.noted_before_the_first_frame("--gaps has no effect")


def test_V21_without_detection_the_frame_at_a_cut_is_generated(lift_file):
    run = lift_file("c1_cut.mp4", "o.mkv", "--no_scenes", *FINE)
    source, target = out.pictures(run.source), out.pictures(run.output)
    assert max(out.psnr(target[13], source[k]) for k in (6, 7)) < 35


# -- duplicates ------------------------------------------------------------------------------------


def centers(path) -> np.ndarray:
    """Horizontal position of the white square in every frame, pixels."""
    found = []
    for frame in out.decode(path):
        light = (out.planes(frame)[0][44:60].astype(float) - 90).clip(0).sum(0)
        found.append((light * np.arange(len(light))).sum() / light.sum())
    return np.array(found)


def test_V28_duplicates_are_generated_anew_at_their_true_time(lift_file):
    run = lift_file("c8_twos_box.mp4", "o.mkv", "--duplicates", "fill", *FINE, trained=True)
    assert run.code == 0, run.err
    doubled(run)
    steps = np.diff(centers(run.output))[:-4]  # the last pose has no successor
    assert steps.min() > 1 and steps.max() < 5, steps  # 12 pixels in four steps


def test_V28_duplicates_are_kept_unless_asked(lift_file):
    run = lift_file("c8_twos_box.mp4", "o.mkv", "--duplicates", "keep", *FINE)
    assert run.code == 0, run.err
    steps = np.diff(centers(run.output))
    assert (np.abs(steps) < 0.3).sum() >= 14  # every other pair of originals is equal


def test_V28_pulldown_becomes_even(lift_file):
    run = lift_file("c8_pulldown30.mp4", "o.mkv", "--duplicates", "fill", *FINE, trained=True)
    assert run.code == 0, run.err
    doubled(run)
    steps = np.diff(centers(run.output))[:-2]
    assert steps.min() > 1.5 and steps.max() < 6, steps  # 8 pixels in 2.5 steps


def test_V28_telecined_film_becomes_even(lift_file):
    run = lift_file("c8_telecine.mp4", "o.mkv", "--duplicates", "fill", *FINE, trained=True)
    assert run.code == 0 and run.noted("bwdif"), run.err
    steps = np.diff(centers(run.output))[:-2]
    assert steps.min() > 1.5 and steps.max() < 6, steps  # 8 pixels in 2.5 steps


def test_V28_a_still_video_has_nothing_to_fill(lift_file):
    run = lift_file("v16_one.mp4", "o.mkv", "--duplicates", "fill")
    assert run.code == 0, run.err


# -- slow motion, parts, loops ---------------------------------------------------------------------


@table(
    Row("slow", "v17_full.mkv", "o.mp4", (rising, picture_ends_at(6.4, 0.05)), ("--slow", 4)),
    Row("trim", "v17_full.mkv", "o.mp4", (picture_ends_at(0.4, 0.05),), ("--trim", "0.4:0.8")),
    Row("two_images", "two", "o.mp4", (frames(3), rising)),
    Row("folder_to_video", "png8", "o.mp4", (frames(11), rising)),
)
def test_moments_by_choice(lift_file, row):
    row.check(lift_file)
