"""Animated images: delays, loops, alpha and depth as asked."""

from fractions import Fraction

import av
import numpy as np
import pytest

from lift.errors import LiftError
from lift.io.animated_images import play_count
from lift.io.animation import frames_of_parts, write_animation
from lift.io.codecs import choose_encoding
from lift.io.color import FrameLayout
from lift.io.decode import DecodedFrame
from lift.io.parts import PartWriter

TIMES = [Fraction(0), Fraction(1, 24), Fraction(2, 24), Fraction(1, 2)]
END = Fraction(5, 4)


def pictures(dtype=np.uint8, count=4):
    scale = np.iinfo(dtype).max // 255
    for index in range(count):
        rgb = np.zeros((24, 32, 3), dtype)
        rgb[:, :, 0] = np.linspace(0, 255, 32).astype(dtype) * scale
        rgb[4 + index : 12 + index, 8:16] = np.array([255, 255, 0]) * scale
        yield rgb + dtype(dtype is np.uint16)  # levels that 8 bits do not have


def alphas(dtype):
    alpha = np.zeros((24, 32), dtype)
    alpha[:, 8:] = np.iinfo(dtype).max
    return alpha


def written(path, times=TIMES, *, alpha=False, dtype=np.uint8, plays=0, crf=None, end=END):
    bits = np.dtype(dtype).itemsize * 8
    layout = FrameLayout("gbrp" if bits == 8 else "gbrp16le", bits, "rgb", alpha)
    encoding = choose_encoding(path.suffix, layout, crf=crf)

    def frames():
        mask = alphas(dtype) if alpha else None
        return ((rgb, mask) for rgb in pictures(dtype, len(times)))

    return write_animation(path, encoding, frames, times, end, plays)


def decoded(path):
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


def chunks(data):
    position = 12
    while position < len(data):
        size = int.from_bytes(data[position + 4 : position + 8], "little")
        yield data[position : position + 4], data[position + 8 : position + 8 + size]
        position += 8 + size + size % 2


@pytest.mark.parametrize(
    ("suffix", "tick"), [(".gif", Fraction(1, 100)), (".apng", Fraction(1, 24))]
)
@pytest.mark.parametrize("alpha", [False, True])
def test_every_frame_is_shown_as_long_as_asked(tmp_path, suffix, tick, alpha):
    path = tmp_path / f"a{suffix}"
    assert written(path, alpha=alpha) == ()
    frames = decoded(path)
    starts = [frame.pts * frame.time_base for frame in frames]
    assert starts == pytest.approx([float(round(time / tick) * tick) for time in TIMES], abs=1e-4)
    last = frames[-1].duration * frames[-1].time_base
    assert float(last) == pytest.approx(float(END - TIMES[-1]), abs=0.01)


def test_webp_states_each_duration_and_the_loops(tmp_path):
    path = tmp_path / "a.webp"
    written(path, plays=3)
    found = list(chunks(path.read_bytes()))
    durations = [int.from_bytes(body[12:15], "little") for name, body in found if name == b"ANMF"]
    assert durations == [42, 41, 417, 750]
    (animation,) = [body for name, body in found if name == b"ANIM"]
    assert int.from_bytes(animation[4:6], "little") == 3


@pytest.mark.parametrize("suffix", (".gif", ".webp", ".apng"))
@pytest.mark.parametrize("plays", (0, 1, 3))
def test_how_often_it_is_played_is_read_again(tmp_path, suffix, plays):
    path = tmp_path / f"a{suffix}"
    written(path, plays=plays)
    assert play_count(path) == plays
    assert play_count(tmp_path / "missing.gif") == 0


@pytest.mark.parametrize(("plays", "stated"), [(0, 0), (3, 2), (1, None)])
def test_gif_loops(tmp_path, plays, stated):
    path = tmp_path / "a.gif"
    written(path, plays=plays)
    before, mark, after = path.read_bytes().partition(b"NETSCAPE2.0\x03\x01")
    assert bool(mark) == (stated is not None)
    if stated is not None:
        assert int.from_bytes(after[:2], "little") == stated


def test_apng_loops(tmp_path):
    path = tmp_path / "a.apng"
    written(path, plays=3)
    data = path.read_bytes()
    assert int.from_bytes(data[data.index(b"acTL") + 8 :][:4], "big") == 3


def test_gif_colours_are_exact_up_to_255(tmp_path):
    path = tmp_path / "a.gif"
    written(path)
    for frame, rgb in zip(decoded(path), pictures(), strict=True):
        assert (frame.to_ndarray(format="rgb24") == rgb).all()


def test_gif_keeps_what_is_transparent(tmp_path):
    path = tmp_path / "a.gif"
    written(path, alpha=True)
    for frame, rgb in zip(decoded(path), pictures(), strict=True):
        back = frame.to_ndarray(format="rgba")
        assert (back[..., 3] == alphas(np.uint8)).all()
        assert (back[:, 8:, :3] == rgb[:, 8:]).all()


@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_apng_is_lossless_in_8_and_16_bits(tmp_path, dtype, alpha):
    path = tmp_path / "a.apng"
    written(path, alpha=alpha, dtype=dtype)
    frames = decoded(path)
    assert len(frames) == len(TIMES)
    for frame, rgb in zip(frames, pictures(dtype), strict=True):
        channels = 4 if alpha else 3
        kind = np.uint8 if dtype is np.uint8 else ">u2"
        rows = np.frombuffer(frame.planes[0], kind).reshape(24, -1)
        back = rows[:, : 32 * channels].reshape(24, 32, channels)
        assert (back[..., :3] == rgb).all()
        if alpha:
            assert (back[..., 3] == alphas(dtype)).all()


def test_webp_is_lossless_with_crf_0(tmp_path):
    cv2 = pytest.importorskip("cv2")
    if not hasattr(cv2, "imreadanimation"):
        pytest.skip("this OpenCV reads no animations")
    path = tmp_path / "a.webp"
    written(path, alpha=True, crf=0)
    ok, animation = cv2.imreadanimation(str(path))
    assert ok and len(animation.frames) == len(TIMES)
    for frame, rgb in zip(animation.frames, pictures(), strict=True):
        assert (frame[:, 8:, 2::-1] == rgb[:, 8:]).all()
        assert (frame[..., 3] == alphas(np.uint8)).all()


def test_frames_faster_than_gif_shows_are_left_out_with_a_note(tmp_path):
    path = tmp_path / "a.gif"
    times = [Fraction(index, 120) for index in range(12)]
    (note,) = written(path, times, end=Fraction(1, 10))
    assert "50 frames per second" in note
    frames = decoded(path)
    assert len(frames) < 12
    starts = [round(frame.pts * frame.time_base * 100) for frame in frames]
    assert min(np.diff(starts)) >= 2


def test_gif_chooses_256_of_many_colours(tmp_path):
    path = tmp_path / "a.gif"
    many = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
    encoding = choose_encoding(".gif", FrameLayout("gbrp", 8, "rgb"))
    write_animation(path, encoding, lambda: [(many, None)], [Fraction(0)], Fraction(1))
    (frame,) = decoded(path)
    distance = np.abs(frame.to_ndarray(format="rgba")[..., :3].astype(int) - many)
    assert 0 < distance.mean() < 40


@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_parts_give_the_frames_back_in_every_pass(tmp_path, dtype, alpha):
    bits = np.dtype(dtype).itemsize * 8
    layout = FrameLayout("gbrp" if bits == 8 else "gbrp16le", bits, "rgb", alpha)
    encoding = choose_encoding(".apng", layout).for_parts(layout)
    paths = [tmp_path / f"{number}.mkv" for number in range(2)]
    for path in paths:
        with PartWriter(path, (32, 24), encoding, Fraction(24), Fraction(1, 24)) as part:
            for time, rgb in zip(TIMES[:3], pictures(dtype, 3), strict=True):
                part.write(DecodedFrame(rgb, None, alphas(dtype) if alpha else None), time)
    frames = frames_of_parts(paths)
    for _ in range(2):
        found = list(frames())
        assert len(found) == 6
        for (rgb, mask), wanted in zip(found[3:], pictures(dtype, 3), strict=True):
            assert rgb.dtype == dtype and (rgb == wanted).all()
            assert (mask == alphas(dtype)).all() if alpha else mask is None


def test_no_frames_are_refused(tmp_path):
    with pytest.raises(LiftError, match="no frame"):
        written(tmp_path / "a.gif", [])
