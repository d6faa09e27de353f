"""Claims about videos without a manifest: no clip crosses a cut or contains a damaged frame."""

import numpy as np
import pytest

from lift.config import DataConfig
from lift.data import scan as scanning
from lift.data.dataset import ClipDataset
from lift.data.scan import Scan, scan, scan_all
from lift.io.video_index import IndexedVideo

av = pytest.importorskip("av")
pytestmark = pytest.mark.videos
SIZE = (96, 128)


def texture(seed, i):
    """Frame i of a scene: a texture that moves by two pixels a frame."""
    coarse = np.random.default_rng(seed).integers(0, 256, (30, 40, 3), np.uint8)
    large = coarse.repeat(8, 0).repeat(8, 1)
    return np.ascontiguousarray(large[i : i + SIZE[0], 2 * i : 2 * i + SIZE[1]])


def write_scenes(path, lengths, gop=12, b_frames=0):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width = SIZE
        stream.pix_fmt = "yuv420p"
        stream.options = {"g": str(gop), "sc_threshold": "0", "bf": str(b_frames), "crf": "10"}
        for seed, length in enumerate(lengths):
            for i in range(length):
                frame = av.VideoFrame.from_ndarray(texture(seed, i), format="rgb24")
                container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def damage(path, start, stop):
    """Overwrite the middle of the frames start..stop - 1, as a bad disk does."""
    with av.open(str(path)) as container:
        packets = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    data = bytearray(path.read_bytes())
    for pos, size in packets[start:stop]:
        middle = slice(pos + size // 3, pos + size - 4)
        data[middle] = b"\xff" * (middle.stop - middle.start)
    path.write_bytes(data)


def test_cuts_are_found_and_no_clip_crosses_them(tmp_path):
    video = write_scenes(tmp_path / "a.mp4", [20, 15, 25])
    assert scan(IndexedVideo(video)) == Scan(cuts=(20, 35))
    write_scenes(tmp_path / "b.mp4", [20])
    config = DataConfig(
        data_root=str(tmp_path), crop_height=32, crop_width=32, frame_cache=str(tmp_path / "kept")
    )
    dataset = ClipDataset(config, "train", batch_size=1, seed=0, train=True)
    assert dataset.sequences[0].cuts == (20, 35)
    assert "cuts found, which no clip contains: a.mp4 2" in dataset.opened.notes
    assert dataset.opened.scans["a.mp4"].cuts == (20, 35)


@pytest.mark.parametrize("b_frames", [0, 2])
def test_frames_predicted_from_a_damaged_one_count_as_damaged(tmp_path, b_frames):
    good = IndexedVideo(write_scenes(tmp_path / "good.mp4", [48], b_frames=b_frames))
    bad = write_scenes(tmp_path / "bad.mp4", [48], b_frames=b_frames)
    damage(bad, 16, 19)
    pairs = zip(good.all_frames(), IndexedVideo(bad).all_frames(), strict=True)
    differ = {i for i, ((a, _), (b, _)) in enumerate(pairs) if not np.array_equal(a, b)}
    found = set(scan(IndexedVideo(bad)).damaged)
    assert len(differ) > 1 and differ <= found <= set(range(12, 24))


def test_damaged_frames_are_in_no_clip(tmp_path):
    video = write_scenes(tmp_path / "a.mp4", [48])
    damage(video, 18, 20)
    found = scan(IndexedVideo(video))
    assert found.damaged and set(found.damaged) <= set(range(18, 24)) and 18 in found.damaged
    for frame in found.damaged:
        assert {frame, frame + 1} <= set(found.edges)


def test_a_result_is_kept_until_the_video_changes(tmp_path, monkeypatch):
    video = write_scenes(tmp_path / "a.mp4", [12, 12])
    (first,) = scan_all([IndexedVideo(video)], tmp_path / "cache")
    monkeypatch.setattr(scanning, "scan", lambda video: pytest.fail("scanned again"))
    assert scan_all([IndexedVideo(video)], tmp_path / "cache") == [first]
    monkeypatch.setattr(scanning, "scan", lambda video: Scan((1,)))
    write_scenes(video, [13, 12])
    assert scan_all([IndexedVideo(video)], tmp_path / "cache") == [Scan((1,))]


def test_without_a_folder_that_can_be_written_it_works_all_the_same(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    video = write_scenes(tmp_path / "a.mp4", [9])
    assert scan_all([IndexedVideo(video)]) == [Scan()]
