"""The streaming interpolator against the plain forward, on a small model whose context matters."""

import threading
from contextlib import nullcontext
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
import torch

from lift.data.clip import Clip, pair
from lift.errors import LiftError
from lift.io.decode import open_frames
from lift.io.folder_writer import PartFolder
from lift.video.frame_generator import FrameGenerator
from lift.video.interpolator import Interpolator
from lift.video.schedule import FixedRateSchedule
from tests.support.streams import EXACT, interpolator, tensors
from tests.support.video_samples import moving_frames, write_folder, write_video


def forward(model, frames, times, t):
    """The plain forward on one clip of (3, H, W) frames at `times`, filled up to fifteen with
    masked NaN; clamped like what is shown.
    """
    spare = 15 - len(frames)
    clip = Clip(
        torch.stack([*frames, *[torch.full_like(frames[0], float("nan"))] * spare])[None],
        torch.tensor([[*map(float, times), *[9.0] * spare]]),
        torch.tensor([[True] * len(frames) + [False] * spare]),
        times.index(0),
    )
    with torch.no_grad():
        return model(clip, torch.tensor([float(t)])).frame[0].clamp(0, 1)


def around(frames, left, times=None):
    """The context that the frames between left and left + 1 should see: eight at or before, seven
    at or after.
    """
    times = list(range(len(frames))) if times is None else times
    chosen = range(max(0, left - 7), min(len(frames), left + 8))
    gap = times[left + 1] - times[left]
    return [frames[k] for k in chosen], [(times[k] - times[left]) / gap for k in chosen]


# -- streaming equals batch ------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("count", (2, 3, 8, 20))
def test_streaming_equals_the_plain_forward(model, count):
    frames = tensors(count)
    shown = list(interpolator(model).frames(iter(frames), 2))
    assert len(shown) == 2 * count - 1
    for k, frame in enumerate(shown):
        if k % 2 == 0:
            assert frame is frames[k // 2]
        else:
            torch.testing.assert_close(frame, forward(model, *around(frames, k // 2), 0.5), **EXACT)


def test_repeated_frames_in_a_stream_are_what_they_are_in_a_clip(model):
    frames = tensors(9)
    frames[2], frames[5] = frames[1], frames[4]
    for k, frame in enumerate(interpolator(model).frames(iter(frames), 2)):
        if k % 2:
            torch.testing.assert_close(frame, forward(model, *around(frames, k // 2), 0.5), **EXACT)


def test_frames_at_any_distance_are_what_they_are_in_a_clip(model_of_a_path):
    """Some gaps are too long for the pair beside them and short enough for the one after that."""
    model, frames = model_of_a_path, tensors(9)
    times = [Fraction(k, 24) for k in (0, 3, 4, 14, 15, 17, 18, 21, 22)]
    shown = list(interpolator(model).frames(frames, 2, times))
    for k in range(8):
        expected = forward(model, *around(frames, k, times), 0.5)
        torch.testing.assert_close(shown[2 * k + 1], expected, **EXACT)


def test_the_context_matters_in_these_tests(model, monkeypatch):
    """All of it, and by itself the motion in the farther gaps."""
    frames = tensors(20)
    full = forward(model, *around(frames, 9), 0.5)
    assert (full - forward(model, frames[9:11], [0, 1], 0.5)).abs().max() > 20 * EXACT["atol"]
    monkeypatch.setattr("lift.model.trajectory.LARGEST_WEIGHT", 0.0)
    assert (full - forward(model, *around(frames, 9), 0.5)).abs().max() > 20 * EXACT["atol"]


@pytest.mark.slow
@pytest.mark.parametrize("batch", (1, 2, 7))
def test_several_frames_of_a_pair_at_the_times_of_the_source(model, batch):
    frames, times = tensors(6), [Fraction(k, 24) for k in (0, 1, 2, 5, 6, 8)]
    shown = list(interpolator(model, batch=batch).frames(frames, 4, times))
    assert len(shown) == 21
    for k, frame in enumerate(shown):
        if k % 4:
            torch.testing.assert_close(
                frame, forward(model, *around(frames, k // 4, times), (k % 4) / 4), **EXACT
            )


@pytest.mark.parametrize(
    "context, before, after",
    ((2, 1, 1), (3, 2, 1), (4, 2, 2), (5, 3, 2), (6, 3, 3)),
)
def test_a_smaller_context_takes_the_nearest_frames(model, context, before, after):
    frames = tensors(8)
    shown = list(interpolator(model, context_frames=context).frames(frames))
    for left in (3, 6):  # in the middle, and with one frame after the left reference
        chosen = range(left - before + 1, min(left + after + 1, 8))
        expected = forward(model, [frames[k] for k in chosen], [k - left for k in chosen], 0.5)
        torch.testing.assert_close(shown[2 * left + 1], expected, **EXACT)


def test_between_is_the_forward_of_two_frames(model):
    frame0, frame1 = tensors(2)
    with torch.no_grad():
        want = model(pair(frame0[None], frame1[None]), torch.tensor([0.25])).frame[0].clamp(0, 1)
    torch.testing.assert_close(interpolator(model).between(frame0, frame1, 0.25), want, **EXACT)


@pytest.mark.slow
def test_reverse_average_makes_time_symmetric(model):
    frames = tensors(4)  # few enough that every pair sees them all, from either side
    symmetric = interpolator(model, reverse_average=True)
    forwards, backwards = list(symmetric.frames(frames, 4)), list(symmetric.frames(frames[::-1], 4))
    for a, b in zip(forwards, reversed(backwards), strict=True):
        torch.testing.assert_close(a, b, **EXACT)
    plain = interpolator(model)
    forwards, backwards = list(plain.frames(frames, 4)), list(plain.frames(frames[::-1], 4))
    assert (
        max((a - b).abs().max() for a, b in zip(forwards, reversed(backwards), strict=True)) > 1e-3
    )


# -- each frame once, in constant memory -----------------------------------------------------------


class Counting(torch.nn.Module):
    """A model that counts what it encodes and is asked for."""

    def __init__(self, model):
        super().__init__()
        self.model, self.config = model, model.config
        self.encoded, self.contexts, self.pairs, self.motions = [], [], 0, 0

    def encode(self, frames):
        self.encoded += [frame.clone() for frame in frames]
        return self.model.encode(frames)

    def prepare_pair(self, *references):
        self.pairs += 1
        return self.model.prepare_pair(*references)

    def estimate_motion(self, pair, t):
        self.motions += 1
        return self.model.estimate_motion(pair, t)

    def synthesize(self, pair, motion, adjacent, keys, values, times, mask, t, **options):
        self.contexts.append(int(mask.sum()))
        inputs = (pair, motion, adjacent, keys, values, times, mask, t)
        return self.model.synthesize(*inputs, **options)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", ({}, {"batch": 3}, {"reverse_average": True}, {"context_frames": 4})
)
def test_each_frame_is_encoded_exactly_once(model, options):
    counting, frames = Counting(model), tensors(17)
    list(interpolator(counting, **options).frames(frames, 3))
    assert len(counting.encoded) == 17
    assert all(torch.equal(a, b) for a, b in zip(counting.encoded, frames, strict=True))
    assert max(counting.contexts) == options.get("context_frames", 15)
    directions, calls = 2 if "reverse_average" in options else 1, 1 if "batch" in options else 2
    assert counting.pairs == 16 * directions
    assert counting.motions == 16 * directions * (1 + calls)  # half way, and for the targets


@pytest.mark.parametrize("context", (2, 3, 4, 6, 15))
def test_half_way_the_motion_in_each_gap_is_computed_once(model, context):
    counting = Counting(model)
    list(interpolator(counting, context_frames=context).frames(tensors(9), 2))
    assert counting.motions == 8


def test_frames_that_were_passed_over_are_context_later(model):
    """Towards a lower rate some pairs have nothing between them; their frames are encoded when a
    later pair looks at them.
    """
    frames, counting = tensors(9), Counting(model)
    timed = [(frame, Fraction(k, 25)) for k, frame in enumerate(frames)]
    shown = list(
        interpolator(counting, context_frames=6).stream(timed, FixedRateSchedule(Fraction(20)))
    )
    assert [s.is_generated for s in shown] == [False, True, True, True, False, True, True]
    assert all(torch.equal(a, b) for a, b in zip(counting.encoded, frames, strict=True))
    for place, (left, t) in {
        1: (1, 0.25),
        2: (2, 0.5),
        3: (3, 0.75),
        5: (6, 0.25),
        6: (7, 0.5),
    }.items():
        chosen = range(max(0, left - 2), min(9, left + 4))
        torch.testing.assert_close(
            shown[place].frame,
            forward(model, [frames[k] for k in chosen], [k - left for k in chosen], t),
            **EXACT,
        )


def test_the_ring_never_holds_more_than_the_context(model, monkeypatch):
    windows_seen = []
    windows = Interpolator._windows

    def watched(self, *arguments):
        for window, left in windows(self, *arguments):
            yield window, left
            windows_seen.append(
                (
                    len(window),
                    sum(h.frame is not None for h in window),
                    sum(h.features is not None for h in window),
                )
            )
            assert all(h.features is None or h.features.keys is None for h in window)

    monkeypatch.setattr(Interpolator, "_windows", watched)
    list(interpolator(model).frames(tensors(30, 16, 16)))
    held, pictures, whole = map(max, zip(*windows_seen, strict=True))
    assert held == 15
    assert pictures == whole == 8  # behind the left reference only the ring keeps something


@pytest.mark.parametrize("detect_scenes, ahead", ((False, 7), (True, 9)))
def test_the_output_follows_the_input_at_a_constant_distance(model, detect_scenes, ahead):
    read = 0

    def counted():
        nonlocal read
        for frame in tensors(30, 16, 16):
            read += 1
            yield frame

    for k, _ in enumerate(interpolator(model, detect_scenes=detect_scenes).frames(counted())):
        assert read <= k // 2 + 1 + ahead


# -- cuts ------------------------------------------------------------------------------------------

RED, BLUE = (200, 60, 50), (40, 70, 160)


@pytest.mark.slow
@pytest.mark.parametrize("multi", (2, 4))
def test_a_cut_is_never_blended_and_the_nearer_original_stands_in(model, multi):
    frames = tensors(6, tint=RED) + tensors(6, tint=BLUE)
    smooth = Interpolator(model)
    shown = list(smooth.frames(frames, multi))
    assert smooth.cuts == 1 and len(shown) == 11 * multi + 1
    for k in range(1, multi):
        assert shown[5 * multi + k] is frames[5 if k <= multi / 2 else 6]


def test_context_does_not_cross_a_cut(model):
    first, second = tensors(6, tint=RED), tensors(6, tint=BLUE)
    together = list(Interpolator(model).frames(first + second))
    alone = [list(interpolator(model).frames(shot)) for shot in (first, second)]
    for a, b in zip(together[:11] + together[12:], alone[0] + alone[1], strict=True):
        torch.testing.assert_close(a, b, **EXACT)


# -- edges of the input ----------------------------------------------------------------------------


def test_no_frame_and_one_frame_pass_through(model):
    counting, frames = Counting(model), tensors(1)
    assert list(interpolator(counting).frames([])) == []
    (only,) = interpolator(counting).frames(frames)
    assert only is frames[0] and counting.encoded == []


def test_doubled_frames_are_fine(model):
    frames = [frame for frame in tensors(4) for _ in range(2)]
    shown = list(interpolator(model).frames(frames))
    assert len(shown) == 15 and all(torch.isfinite(frame).all() for frame in shown)


def test_wrong_arguments_are_value_errors(model):
    smooth, (a, b) = interpolator(model), tensors(2)
    wrong = [
        lambda: smooth.between(a, b, 0.0),
        lambda: smooth.between(a, b[:, 1:], 0.5),
        lambda: smooth.between(a.byte(), b, 0.5),
        lambda: list(smooth.frames([a, b[:, 1:]])),
        lambda: list(smooth.frames([a[None]])),
        lambda: list(smooth.frames([a, b], 1)),
        lambda: list(smooth.frames([a, b], 2, [0.0])),
        lambda: list(smooth.frames([a, b], 2, [1.0, 1.0])),
        lambda: Interpolator(model, context_frames=1),
        lambda: Interpolator(model, batch=0),
    ]
    for call in wrong:
        with pytest.raises(ValueError, match="got"):
            call()


# -- files -----------------------------------------------------------------------------------------


def test_a_video_keeps_its_times_and_its_originals(model, tmp_path):
    pytest.importorskip("av")
    ticks = [0, 40, 80, 171, 200, 333]
    src = write_video(tmp_path / "in.mp4", moving_frames(6, 47, 63), ticks)
    summary = interpolator(model).video(src, tmp_path / "out.mp4", 3)
    assert (summary.frames, summary.generated, summary.cuts, summary.notes) == (16, 10, 0, [])
    result = list(open_frames(tmp_path / "out.mp4").timed())
    times = [time for _, time in result]
    assert times[::3] == [Fraction(k, 1000) for k in ticks]
    assert all(
        c - b == b - a for a, b, c in zip(times[:-2:3], times[1:-1:3], times[2::3], strict=True)
    )
    for (got, _), want in zip(result[::3], open_frames(src).frames(), strict=True):
        assert np.abs(got.astype(int) - want).mean() < 3


def test_a_rate_is_reached_exactly(model, tmp_path):
    pytest.importorskip("av")
    rate = Fraction(60000, 1001)
    src = write_video(
        tmp_path / "in.mp4", moving_frames(8), [k * 1001 for k in range(8)], Fraction(1, 24000)
    )
    summary = interpolator(model).video(src, tmp_path / "out.mp4", fps=rate)
    times = [time for _, time in open_frames(tmp_path / "out.mp4").timed()]
    assert times == [k / rate for k in range(len(times))] and summary.frames == len(times) == 18


def test_a_folder_gives_a_folder_with_the_originals_untouched(model, tmp_path):
    frames = moving_frames(5)
    interpolator(model).video(write_folder(tmp_path / "in", frames), tmp_path / "out", 2)
    result = list(open_frames(tmp_path / "out").frames())
    assert len(result) == 9 and all(
        np.array_equal(a, b) for a, b in zip(result[::2], frames, strict=True)
    )
    assert all(not np.array_equal(a, b) for a, b in pairwise(result))


def test_a_folder_gives_a_video_and_back(model, tmp_path):
    pytest.importorskip("av")
    interpolator(model).video(
        write_folder(tmp_path / "in", moving_frames(4)),
        tmp_path / "out.mp4",
        2,
        source_fps=Fraction(10),
    )
    source = open_frames(tmp_path / "out.mp4")
    assert source.fps == 20 and [time for _, time in source.timed()] == [
        Fraction(k, 20) for k in range(7)
    ]


@pytest.fixture
def no_thread_left():
    before = threading.active_count()
    yield
    assert threading.active_count() == before


@pytest.mark.slow
def test_threads_change_no_byte_of_a_folder_or_a_video(model, tmp_path, monkeypatch):
    pytest.importorskip("av")
    src = write_video(tmp_path / "in.mp4", moving_frames(6), sound=True)
    results = []
    for threads in (True, False):
        if not threads:
            module = "lift.video.file"
            monkeypatch.setattr(f"{module}.read_ahead", lambda items, depth: items)
            monkeypatch.setattr(f"{module}.WriteBehind", lambda write, depth: nullcontext(write))
        folder, video = tmp_path / f"out{threads}", tmp_path / f"out{threads}.mkv"
        for out in (folder, video):
            assert interpolator(model, context_frames=3).video(src, out, 3).frames == 16
        results.append(
            (
                [p.read_bytes() for p in sorted(folder.iterdir())],
                [(time, f.tobytes()) for f, time in open_frames(video).timed()],
            )
        )
    assert results[0] == results[1]


def test_an_error_of_the_writer_ends_the_video(model, tmp_path, monkeypatch, no_thread_left):
    write, written = PartFolder.write, []

    def full(self, frame, number):
        if len(written) == 4:
            raise LiftError("disk full")
        written.append(write(self, frame, number))

    monkeypatch.setattr(PartFolder, "write", full)
    source = write_folder(tmp_path / "in", moving_frames(8))
    with pytest.raises(LiftError, match="disk full"):
        interpolator(model, context_frames=2).video(source, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["in"]


def test_an_interruption_of_the_model_leaves_nothing(model, tmp_path, monkeypatch, no_thread_left):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(FrameGenerator, "__call__", interrupted)
    source = write_folder(tmp_path / "in", moving_frames(12))
    with pytest.raises(KeyboardInterrupt):
        interpolator(model, context_frames=2).video(source, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize("name", ("out.mp4", "out"))
def test_a_truncated_source_leaves_nothing_behind(model, tmp_path, name, no_thread_left):
    pytest.importorskip("av")
    noise = np.random.default_rng(0).integers(0, 255, (40, 32, 32, 3), dtype=np.uint8)
    src = write_video(
        tmp_path / "in.mp4",
        list(noise),
        list(range(40)),
        Fraction(1, 25),
        options={"movflags": "faststart"},
    )
    src.write_bytes(src.read_bytes()[: src.stat().st_size // 2])
    with pytest.raises(LiftError, match=r"in.mp4: damaged or truncated after frame \d+"):
        interpolator(model, context_frames=2).video(src, tmp_path / name, strict=True)
    assert [p.name for p in tmp_path.iterdir()] == ["in.mp4"]


def test_input_and_output_may_not_be_the_same(model, tmp_path):
    folder = write_folder(tmp_path / "f", moving_frames(2))
    with pytest.raises(LiftError, match="input and output are the same"):
        interpolator(model).video(folder, tmp_path / "other" / ".." / "f", overwrite=True)
    assert len(list(folder.iterdir())) == 2


def test_the_former_name_of_context_frames_is_accepted_with_a_warning(model):
    with pytest.warns(DeprecationWarning, match="is now context_frames="):
        assert Interpolator(model, context=4).context_frames == 4
