"""The synthetic clips of protocol `long_context` hide what they claim to hide."""

from dataclasses import replace

import numpy as np
import pytest

cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")

from lift.data.synthetic import SyntheticScene  # noqa: E402
from lift.evaluation.baselines import warp  # noqa: E402
from lift.evaluation.protocols.long_context_scenes import (  # noqa: E402
    KINDS,
    LEFT,
    NEAR,
    TARGET_TIME,
    TIMES,
    VARIANTS,
    synthetic_clip,
    synthetic_clips,
)

NUMBERS = range(6)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_clip(kind):
    first, again, other = (synthetic_clip(kind, 1, seed) for seed in (5, 5, 6))
    assert (first.frames == again.frames).all() and (first.target == again.target).all()
    assert (first.target != other.target).any()


@pytest.mark.slow
def test_every_kind_has_its_clips_in_all_variants():
    names = [clip.name for clip in synthetic_clips(per_kind=4, seed=1)]
    assert len(set(names)) == len(names) == 4 * len(KINDS)
    for kind, variants in VARIANTS.items():
        assert all(any(name.startswith(f"{kind}_{each}") for name in names) for each in variants)


def test_frames_are_rendered_at_fifteen_uniform_times_around_the_references():
    clip = synthetic_clip("nonlinear", 0)
    assert clip.frames.shape == (15, 256, 256, 3) and clip.frames.dtype == np.uint8
    assert TIMES[LEFT] == 0 and set(np.diff(TIMES)) == {1.0} and TARGET_TIME not in TIMES
    assert (clip.frames[LEFT] == clip.scene.render([0.0])[0]).all()


# -- occluder --------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", NUMBERS)
def test_hidden_points_are_in_none_of_the_near_frames_and_in_a_far_one(number):
    clip = synthetic_clip("occluder", number)
    hidden = clip.hidden()
    far = np.any([clip.seen(time) for time in TIMES if time not in NEAR], axis=0)
    assert 0.03 < hidden.mean() < 0.2
    assert far[hidden].mean() > 0.95
    assert not any((clip.seen(time) & hidden).any() for time in NEAR)


@pytest.mark.parametrize("number", [n for n in NUMBERS if n % 4 != 3])  # all but dropout
def test_another_background_changes_the_hidden_points_of_the_target_and_of_no_near_frame(number):
    clip = synthetic_clip("occluder", number)
    background, *layers = clip.scene.layers
    altered = replace(background, picture=255 - background.picture)
    other = SyntheticScene.from_layers([altered, *layers], clip.scene.size)
    # the middle of what is hidden: pixels at an edge show a little of both sides
    hidden = cv2.erode(clip.hidden().astype(np.uint8), np.ones((5, 5))) > 0

    def change(time: float) -> np.ndarray:
        there = clip.scene.flow(TARGET_TIME, (time, time))[:2].transpose(1, 2, 0)
        before, after = (scene.render([time])[0] for scene in (clip.scene, other))
        change = np.abs(before.astype(int) - after.astype(int)).max(-1)
        return warp(change, there)[hidden]

    assert np.median(change(TARGET_TIME)) > 20
    for time in NEAR:
        assert change(time).mean() < 1.5


def test_lost_blocks_are_in_the_near_frames_alone_and_differ():
    clip = synthetic_clip("occluder", 3)
    clean = clip.scene.render(TIMES)
    changed = {t: (a != b).any() for t, a, b in zip(TIMES, clip.frames, clean, strict=True)}
    assert {time for time, each in changed.items() if each} == set(NEAR) == set(clip.damaged)
    everywhere = np.logical_and.reduce(list(clip.damaged.values()))
    near = np.stack([clip.frames[TIMES.index(time)][everywhere] for time in NEAR]).astype(int)
    assert np.abs(np.diff(near, axis=0)).mean() > 5


# -- the other kinds -------------------------------------------------------------------------------


@pytest.mark.parametrize("number", NUMBERS)
def test_a_cubic_through_the_near_positions_misses_the_target(number):
    clip = synthetic_clip("nonlinear", number)
    # the layer's middle, or the background's where the camera shakes
    middle = np.array([*(x / 2 for x in clip.scene.layers[1].picture.shape[1::-1]), 1.0])
    positions = {
        time: (clip.scene._view(time).matrices[1] @ middle)[:2] for time in (*NEAR, TARGET_TIME)
    }
    cubic = sum(w / 16 * positions[t] for w, t in zip((-1, 9, 9, -1), NEAR, strict=True))
    assert np.linalg.norm(cubic - positions[TARGET_TIME]) > 0.25


def test_inputs_have_independent_noise_and_the_target_has_none():
    clip = synthetic_clip("noise", 5)
    assert (clip.target == clip.scene.render([TARGET_TIME])[0]).all()
    noise = clip.frames.astype(int) - clip.scene.render(TIMES)
    assert 7 < noise[LEFT].std() < 16
    assert abs(np.corrcoef(noise[LEFT].ravel(), noise[LEFT + 1].ravel())[0, 1]) < 0.05


@pytest.mark.parametrize("number", NUMBERS)
def test_repeated_texture_moves_by_more_than_half_its_period_between_the_references(number):
    clip = synthetic_clip("ambiguous", number)
    picture = clip.scene.layers[1].picture
    row = picture[picture.shape[0] // 10, 100:300, :3].astype(int)
    period = next(s for s in range(8, 60) if np.abs(row[s:] - row[:-s]).mean() < 1)
    matrices = [clip.scene._view(time).matrices[1] for time in (0.0, 1.0)]
    motion = np.linalg.norm((matrices[1] - matrices[0])[:2, 2])
    assert 0.55 * period < motion < 0.9 * period
