"""`lift interpolate --crf 0` leaves the original frames as they are, however often it runs."""

import numpy as np
import pytest

from lift.commands import interpolate
from lift.io.decode import open_frames
from tests.support.exact_color import VideoCase, write_lossless

av = pytest.importorskip("av")

FRAMES = 4


class AnyColor(VideoCase):
    """Every value of Y, U and V, most of them outside of RGB."""

    def planes(self, k: int):
        rng = np.random.default_rng(k)
        shapes = [(self.height, self.width)] + 2 * [(self.height // 2, self.width // 2)]
        return tuple(rng.integers(0, 256, shape, dtype=np.uint8) for shape in shapes)


CASES = {
    "BT.709": VideoCase(),
    "BT.601": VideoCase(matrix=6),
    "BT.2020": VideoCase(matrix=9),
    "untagged": VideoCase(matrix=6, tagged=False),
    "full range": VideoCase(full_range=True),
    "outside of RGB": AnyColor(),
    "rotated": VideoCase(turn=90),
    "mirrored": VideoCase(mirror="x"),
    "10 bit": VideoCase(bits=10, suffix=".mkv"),
}


def twice(source, folder):
    """The file after one run and after two; every second, then every fourth frame is original."""
    outputs = []
    for k in (1, 2):
        outputs.append(folder / f"pass{k}.mkv")
        flags = ["--crf", "0", "--quiet", "--no_scenes", "--device", "cpu"]
        assert interpolate.main([str(source), str(outputs[-1]), *flags]) == 0
        source = outputs[-1]
    return outputs


def luma(path):
    """The stored luma of every frame."""
    with av.open(str(path)) as file:
        frames = list(file.decode(video=0))
    planes = [
        np.frombuffer(f.planes[0], np.uint8).reshape(-1, f.planes[0].line_size) for f in frames
    ]
    return [plane[: f.height, : f.width] for plane, f in zip(planes, frames, strict=True)]


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_of_a_video(tmp_path, name):
    case = CASES[name]
    source = write_lossless(tmp_path / f"in{case.suffix}", case, FRAMES)
    before = np.stack(list(open_frames(source).frames()))
    for passes, path in enumerate(twice(source, tmp_path), 1):
        after = np.stack(list(open_frames(path).frames()))[:: 2**passes]
        assert after.shape == before.shape
        if case.bits == 8:
            assert np.array_equal(after, before)
        else:
            change = after.astype(int) - before
            assert abs(change.mean()) < 0.05 and np.abs(change).max() <= 2
        if case.bits == 8 and not case.turn and not case.mirror:
            stored = luma(path)[:: 2**passes]
            assert all(np.array_equal(a, b) for a, b in zip(stored, luma(source), strict=True))


def test_matrix_and_range_of_the_source_are_kept(tmp_path):
    case = VideoCase(matrix=9, full_range=True)
    source = write_lossless(tmp_path / "in.mp4", case, 2)
    first, second = twice(source, tmp_path)
    for path in (first, second):
        with av.open(str(path)) as file:
            frame = next(file.decode(video=0))
            assert (int(frame.colorspace), int(frame.color_range)) == (9, 2)


def test_odd_sides_have_full_chroma_and_lose_nothing_after_the_first_run(tmp_path):
    import cv2

    rgb = np.random.default_rng(0).integers(0, 256, (FRAMES, 33, 35, 3), dtype=np.uint8)
    (tmp_path / "in").mkdir()
    for k, image in enumerate(rgb):
        cv2.imwrite(str(tmp_path / "in" / f"{k}.png"), image[..., ::-1])
    first, second = twice(tmp_path / "in", tmp_path)
    originals = np.stack(list(open_frames(first).frames()))[::2]
    change = originals.astype(int) - rgb
    assert abs(change.mean()) < 0.05 and np.abs(change).max() <= 2
    assert np.array_equal(np.stack(list(open_frames(second).frames()))[::4], originals)


def test_a_grey_folder_keeps_its_levels(tmp_path):
    """Grey needs no chroma: 4:2:0 holds it to the rounding of 219 levels."""
    import cv2

    (tmp_path / "in").mkdir()
    ramp = np.arange(256, dtype=np.uint8).reshape(1, 256).repeat(32, 0)
    for k in range(FRAMES):
        cv2.imwrite(str(tmp_path / "in" / f"{k}.png"), ramp)
    for passes, path in enumerate(twice(tmp_path / "in", tmp_path), 1):
        change = np.stack(list(open_frames(path).frames()))[:: 2**passes].astype(int)
        change -= ramp[..., None]
        assert abs(change.mean()) < 0.05 and np.abs(change).max() <= 1
