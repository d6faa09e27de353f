"""Claims about training samples: each follows from the seed and its number alone, whatever loads
it.
"""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from lift import kernels
from lift.config import DataConfig
from lift.data.augmentation import Augmentation
from lift.data.dataset import ClipDataset
from lift.data.loader import loader
from lift.data.sample import Sample, collate
from lift.errors import LiftError

SIZE = (40, 56)
CONFIG = DataConfig(
    crop_height=32,
    crop_width=32,
    strides=(2, 4),
    min_context_frames=2,
    full_context_prob=0.5,
    synthetic_size=40,
)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Two training sequences and one for validation; the red channel of a frame is its number, the
    rest is texture.
    """
    folder = tmp_path_factory.mktemp("clips")
    for split, name, count in (("train", "a", 40), ("train", "b", 64), ("val", "c", 40)):
        place = folder / "sequences" / split / name
        place.mkdir(parents=True)
        texture = np.random.default_rng(len(name)).integers(0, 256, (*SIZE, 3), np.uint8)
        for i in range(count):
            texture[..., 2] = 3 * i
            cv2.imwrite(str(place / f"im{i:02d}.png"), texture)
    return folder


def dataset(root=None, *, train=True, seed=3, batch_size=4, clips=64, **changes) -> ClipDataset:
    config = replace(CONFIG, data_root=str(root or ""), **changes)
    return ClipDataset(
        config,
        "train" if train else "val",
        batch_size=batch_size,
        seed=seed,
        train=train,
        clips=clips,
    )


def same(a: Sample, b: Sample) -> bool:
    return (
        all(
            torch.equal(getattr(a, n), getattr(b, n))
            for n in ("frames", "times", "mask", "target", "flow", "visible")
        )
        and a.t == b.t
    )


KINDS = ["folder", "synthetic", "mixed"]


@pytest.mark.parametrize("data", KINDS)
def test_a_sample_has_the_shapes_and_ranges_of_its_contract(root, data):
    d = dataset(root, data_source=data)
    for g in range(24):
        s = d[g]
        n = s.times.shape[1]
        times, mask = s.times[0], s.mask[0]
        assert 2 <= n <= 15 and s.frames.shape == (n, 3, 32, 32)
        assert s.mask.shape == (1, n) and s.t.shape == (1,) and s.target.shape == (1, 3, 32, 32)
        assert s.flow.shape == (1, 4, 32, 32) and s.visible.shape == (1, 2, 32, 32)
        assert (
            s.frames.dtype == torch.float32
            and s.frames.is_contiguous()
            and 0 <= s.frames.min()
            and 0.2 < s.frames.max() <= 1
        )
        assert times[:2].tolist() == [0, 1] and mask[:2].all() and 0 < s.t < 1
        assert not s.frames[~mask].any()
        if not s.flow_known:
            assert not s.flow.any() and not s.visible.any()


def test_times_are_those_of_the_frames(root, monkeypatch):
    def draw(rng, *_):
        return Augmentation(reverse=bool(rng.random() < 0.5))

    monkeypatch.setattr(Augmentation, "draw", draw)
    d = dataset(root, data_source="folder")
    reversals = 0
    for g in range(60):
        s = d[g]
        number = (s.frames[:, 0].mean((1, 2)) * 255 / 3).round()
        target = float((s.target[0, 0].mean() * 255 / 3).round())
        gap = float(number[1] - number[0])
        reversals += gap < 0
        expected, mask = (number - number[0]) / gap, s.mask[0]
        assert torch.allclose(s.times[0, mask], expected[mask], atol=1e-6)
        assert s.t.item() == pytest.approx((target - float(number[0])) / gap)
        assert abs(gap) in (2, 4) and target not in number[mask].tolist()
    assert 15 < reversals < 45


def test_a_batch_shares_its_number_of_frames_and_batches_differ(root):
    d = dataset(root, data_source="mixed")
    counts = [{len(d[g].frames) for g in range(4 * b, 4 * b + 4)} for b in range(40)]
    assert all(len(c) == 1 for c in counts)
    counts = [c.pop() for c in counts]
    assert 10 < sum(c == 15 for c in counts) < 35 and len(set(counts)) > 5


def test_missing_frames_at_the_ends_are_masked(root):
    d = dataset(root, data_source="folder", full_context_prob=1.0, strides=(4,))
    samples = [d[g] for g in range(12)]
    assert all(s.times.shape == (1, 15) for s in samples)
    assert all(not s.mask.all() for s in samples if s.frames.shape[0] == 15 and s.mask.sum() < 15)
    assert any(not s.mask.all() for s in samples)


@pytest.mark.parametrize("data", KINDS)
def test_a_sample_follows_from_seed_and_number_alone(root, data):
    first, second = dataset(root, data_source=data), dataset(root, data_source=data)
    for g in (29, 3, 7):
        second[g]
    assert all(same(first[g], second[g]) for g in (0, 3, 7, 29, 1000))
    other = dataset(root, data_source=data, seed=4)
    assert not any(
        same(first[g], other[g]) if first[g].frames.shape == other[g].frames.shape else False
        for g in range(4)
    )


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_the_same_whatever_the_workers_and_wherever_a_run_resumes(root, workers):
    d = dataset(root, data_source="mixed")
    batches = list(loader(d, 4, 5, 9, num_workers=workers))
    assert len(batches) == 4
    for step, batch in zip(range(5, 9), batches, strict=True):
        expected = collate([d[g] for g in range(4 * step, 4 * step + 4)])
        assert torch.equal(batch.clip.frames, expected.clip.frames) and torch.equal(
            batch.t, expected.t
        )
        assert torch.equal(batch.flow, expected.flow) and torch.equal(
            batch.flow_known, expected.flow_known
        )
        assert batch.clip.left == 0


def test_devices_share_out_the_samples_of_one_step(root):
    d = dataset(root, data_source="folder", batch_size=4)
    whole = next(loader(d, 4, 3, 4))
    parts = [next(loader(d, 2, 3, 4, rank=rank, world=2)) for rank in (0, 1)]
    assert torch.equal(torch.cat([p.target for p in parts]), whole.target)
    assert torch.equal(torch.cat([p.clip.frames for p in parts]), whole.clip.frames)


def test_an_epoch_visits_every_stretch_once_in_a_new_order(root):
    d = dataset(root, data_source="folder")
    assert (
        len(d) == 3 - 1 + 4
    )  # 40 frames: two stretches of 16 and a rest too short to count; 64 frames: four
    orders = [d._order(e).tolist() for e in range(4)]
    assert (
        all(sorted(o) == list(range(len(d))) for o in orders)
        and len({tuple(o) for o in orders}) > 1
    )


@pytest.mark.slow
def test_mixed_data_holds_the_share_of_synthetic_clips(root):
    d = dataset(root, data_source="mixed", synthetic_fraction=0.3)
    assert 0.2 < np.mean([d[g].flow_known for g in range(200)]) < 0.4
    assert not any(
        dataset(root, data_source="mixed", synthetic_fraction=0.0)[g].flow_known for g in range(10)
    )


def test_preloading_and_caching_change_nothing(root, tmp_path):
    plain, loaded, cached = (
        dataset(root, data_source="folder"),
        dataset(root, data_source="folder", preload=True),
        dataset(root, data_source="folder", frame_cache=str(tmp_path)),
    )
    assert all(same(plain[g], loaded[g]) and same(plain[g], cached[g]) for g in range(8))


def test_validation_clips_are_fixed_and_in_full_size(root):
    d = dataset(root, data_source="folder", train=False, clips=5)
    assert len(d) == 5
    samples = [d[g] for g in range(5)]
    for s in samples:
        assert s.frames.shape == (15, 3, 32, 32) and s.t == 0.5  # 40 x 56 cut to multiples of 32
        assert s.times[s.mask].tolist()[:2] == [0, 1]
    lefts = [round(float(s.frames[0, 0].mean()) * 255 / 3) for s in samples]
    assert lefts == sorted(set(lefts)) and lefts[0] < 12 and lefts[-1] > 26
    assert same(samples[2], dataset(root, data_source="folder", train=False, clips=5, seed=9)[2])
    with pytest.raises(IndexError):
        d[5]


@pytest.mark.parametrize("strides", [(2, 4), (4, 2), (8, 2)])
def test_validation_uses_the_first_stride_to_the_end_of_a_sequence(root, strides):
    d = dataset(root, data_source="folder", train=False, strides=strides, clips=100)
    assert len(d) == 40 - strides[0]
    last = d[len(d) - 1]
    numbers = (last.frames[:2, 0].mean((1, 2)) * 255 / 3).round().tolist()
    assert numbers == [39 - strides[0], 39]


def test_synthetic_validation_needs_no_files_and_differs_from_training():
    d, t = (
        dataset(data_source="synthetic", train=False, clips=6),
        dataset(data_source="synthetic", full_context_prob=1.0),
    )
    assert (
        len(d) == 6
        and d[0].flow_known
        and same(d[3], dataset(data_source="synthetic", train=False, clips=6)[3])
    )
    assert not torch.equal(d[0].target, t[0].target)
    assert len(t) == CONFIG.synthetic_size


@pytest.mark.parametrize("data", KINDS)
def test_dense_sampling_puts_the_target_in_the_middle(root, data):
    d = dataset(root, data_source=data, sampling="dense", full_context_prob=1.0)
    for g in range(8):
        s = d[g]
        assert s.t == 0.5 and s.times.shape == (1, 15)
        assert set((s.times[s.mask] * 2).tolist()) <= {float(i) for i in range(-7, 10) if i != 1}


def test_samples_of_two_sizes_do_not_make_a_batch(root):
    a, b = (
        dataset(root, data_source="folder")[0],
        dataset(root, data_source="folder", crop_width=48)[0],
    )
    with pytest.raises(ValueError, match="one shape"):
        collate([a, b])


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_frame_is_named_in_one_sentence_whatever_loads_it(root, tmp_path, workers):
    for name in "ab":
        (tmp_path / name).mkdir()
        for i in range(9):
            cv2.imwrite(str(tmp_path / name / f"{i}.png"), np.zeros((*SIZE, 3), np.uint8))
            if i:
                path = tmp_path / name / f"{i}.png"
                path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(LiftError) as error:
        next(loader(dataset(tmp_path, data_source="folder"), 2, num_workers=workers))
    assert (
        "not a readable image (damaged or truncated)" in str(error.value)
        and "\n" not in str(error.value)
        and "Traceback" not in str(error.value)
    )


WRONG = [
    (dict(data_source="film"), "data_source must be folder, synthetic or mixed, got 'film'"),
    (dict(data_source="folder"), "give --data_root"),
    (dict(data_source="synthetic", sampling="loose"), "sampling must be skip or dense"),
    (dict(data_source="synthetic", strides=(1, 2)), "strides must be numbers of at least 2"),
    (
        dict(data_source="synthetic", min_context_frames=1),
        "2 <= min_context_frames <= context_frames",
    ),
]


@pytest.mark.parametrize("changes, words", WRONG)
def test_wrong_settings_are_named(changes, words):
    with pytest.raises(LiftError, match=words):
        dataset(**changes)


def test_sequences_too_short_for_every_stride_are_named(root):
    with pytest.raises(LiftError, match="has 101 consecutive frames"):
        dataset(root, data_source="folder", strides=(100,))


def test_a_teacher_s_flow_leads_from_the_target_to_both_references(tmp_path):
    """Also where a clip is turned, mirrored, enlarged or played backwards."""
    rng = np.random.default_rng(5)
    scene = cv2.resize(rng.integers(0, 256, (24, 48, 3), np.uint8), (384, 192))
    for i in range(24):
        cv2.imwrite(str(tmp_path / f"{i:02d}.png"), scene[2 * i : 2 * i + 96, 3 * i : 3 * i + 128])
    taught = dataset(
        tmp_path, data_source="folder", flow_teacher="dis", crop_height=64, crop_width=64
    )
    for sample in (taught[g] for g in range(12)):
        assert sample.flow_known and set(sample.visible.unique().tolist()) <= {0.5, 1.0}
        for side in (0, 1):
            flow = sample.flow[:, 2 * side : 2 * side + 2].contiguous()
            warped = kernels.warp(sample.frames[side : side + 1], flow)
            trusted = sample.visible[:, side : side + 1] == 1
            moved, still = (
                ((x - sample.target).abs() * trusted).sum() / trusted.sum()
                for x in (warped, sample.frames[side : side + 1])
            )
            assert trusted.float().mean() > 0.3 and moved < still / 3


# -- size and damage -------------------------------------------------------------------------------


def test_frames_smaller_than_the_crop_are_enlarged_with_a_note_or_refused(root):
    with pytest.raises(LiftError, match="crop of 1000x100 is larger .* largest are 56x40.*enlarge"):
        dataset(root, crop_height=100, crop_width=1000, enlarge=False)
    enlarged = dataset(root, crop_height=100, crop_width=60)
    assert enlarged[0].target.shape == (1, 3, 100, 60)
    note = "2 of 2 sequences are smaller than the crop of 60x100; their frames are enlarged"
    assert any(each.startswith(note) for each in enlarged.opened.notes)


@pytest.mark.parametrize("crop", [(32, 48), (48, 32)])
def test_a_crop_that_fits_one_way_is_never_enlarged(root, crop, monkeypatch):
    """The frames are 56 x 40: a crop that is 48 high is cut out lying and rotated."""
    from lift.data import augmentation

    def refuse(frames, size):
        assert frames.shape[1] >= size[0] and frames.shape[2] >= size[1]
        return frames

    monkeypatch.setattr(augmentation, "enlarge_to_cover", refuse)
    clips = dataset(root, crop_height=crop[0], crop_width=crop[1])
    for g in range(16):
        assert clips[g].target.shape == (1, 3, *crop)


@pytest.fixture
def damaged(tmp_path):
    """Five sequences, of which the last is held out; a frame of the first is truncated."""
    for name in "abcde":
        (tmp_path / name).mkdir()
        for i in range(40):
            image = np.random.default_rng(i).integers(0, 256, (*SIZE, 3), np.uint8)
            cv2.imwrite(str(tmp_path / name / f"{i:02d}.png"), image)
    broken = tmp_path / "a" / "20.png"
    broken.write_bytes(broken.read_bytes()[:900])
    return tmp_path


def test_a_truncated_frame_is_named_before_training_begins(damaged):
    with pytest.raises(LiftError, match="20.png: not a readable image"):
        dataset(damaged)


def test_skip_bad_takes_another_sample_and_names_the_damaged_one(damaged):
    clips = dataset(damaged, skip_bad=True)
    samples = [clips[g] for g in range(64)]
    skipped = [s for s in samples if s.skipped]
    assert skipped and len(skipped) < 32
    assert all("20.png" in sentence for s in skipped for sentence in s.skipped)
    again = dataset(damaged, skip_bad=True)
    assert all(
        same(again[g], s) for g, s in zip(reversed(range(64)), reversed(samples), strict=True)
    )
    with pytest.raises(LiftError, match="20.png"):
        healthy = dataset(damaged, skip_bad=True)
        healthy.config = replace(healthy.config, skip_bad=False)
        [healthy[g] for g in range(64)]


def test_a_batch_has_the_sentences_of_its_samples(damaged):
    clips = dataset(damaged, skip_bad=True)
    batches = list(loader(clips, 4, stop=16, num_workers=2))
    expected = [sentence for g in range(64) for sentence in clips[g].skipped]
    assert [sentence for batch in batches for sentence in batch.skipped] == expected


def test_data_that_are_damaged_throughout_stop_at_last(damaged):
    for file in damaged.glob("*/*.png"):
        file.write_bytes(file.read_bytes()[:900])
    clips = dataset(damaged, skip_bad=True)
    with pytest.raises(LiftError, match="100 damaged samples one after another"):
        clips[0]
