"""Tiles of frames: where they are, what they add up to, and what a stream makes of them."""

from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lift.video import frame_generator, tiles
from lift.video.cache import KVRingBuffer, RingBuffers
from lift.video.engine import Engine
from lift.video.interpolator import Interpolator
from lift.video.memory_budget import OutOfMemory
from lift.video.schedule import MultiplierSchedule
from lift.video.tiles import Mosaic, grid_of_area, grid_of_side, whole_frame
from tests.support.recorder import Recorder
from tests.support.streams import EXACT, interpolator, tensors

H, W = 70, 90  # no multiple of 16


def frames(n=4):
    return tensors(n, H, W)


def made(smooth, multi=2, n=4):
    return [frame for k, frame in enumerate(smooth.frames(frames(n), multi)) if k % multi]


def worst(a, b):
    return max((x - y).abs().max().item() for x, y in zip(a, b, strict=True))


# -- grids -----------------------------------------------------------------------------------------

GRIDS = [
    *[grid_of_side(h, w, side, 16, 1.0) for h, w in ((48, 200), (70, 90)) for side in (32, 64, 90)],
    grid_of_side(100, 300, 128, 64, 0.25),
    grid_of_area(600, 900, 100_000, 16, 1.0),
    grid_of_area(600, 900, 1, 128, 0.125),
    whole_frame(70, 90, 16),
]


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_weights_add_up_to_one_in_every_pixel(grid):
    total = torch.zeros(grid.tops[-1] + grid.tile_height, grid.lefts[-1] + grid.tile_width)
    for index in range(len(grid)):
        top, left = grid.corner(index)
        weights = grid.weights(index)
        assert weights.min() >= 0 and weights.shape == grid.tile_size
        total[top : top + grid.tile_height, left : left + grid.tile_width] += weights
    assert torch.equal(total, torch.ones_like(total))
    assert total.shape[0] >= grid.height and total.shape[1] >= grid.width


@pytest.mark.parametrize("side", (32, 64, 100))
def test_tiles_are_of_one_size_and_begin_at_multiples(side):
    grid = grid_of_side(150, 210, side, 16, 1.0)
    largest = -(-side // 16) * 16
    assert all(length % 16 == 0 and length <= largest for length in grid.tile_size)
    assert all(start % 16 == 0 for start in (*grid.tops, *grid.lefts))


def test_a_frame_that_fits_is_one_tile():
    assert len(grid_of_side(70, 90, 96, 16, 1.0)) == 1
    assert len(grid_of_area(1080, 1920, 1088 * 1920, 16, 1.0)) == 1


def test_tiles_of_an_area_are_as_large_as_it_allows():
    grid = grid_of_area(2304, 4096, 2_000_000, 16, 1.0)
    assert 1_000_000 < grid.tile_height * grid.tile_width <= 2_000_000
    assert min(grid_of_area(600, 900, 1, 16, 1.0).tile_size) >= tiles.SMALLEST


def test_what_tiles_agree_on_is_unchanged():
    grid = grid_of_side(H, W, 48, 16, 1.0)
    image = torch.rand(1, 3, H, W)
    mosaic = Mosaic(grid)
    for index in range(len(grid)):
        mosaic.add(index, grid.complete(grid.crop(image, index)))
    torch.testing.assert_close(mosaic.frames(), image, atol=1e-6, rtol=0)
    pixels = np.arange(H * W * 3).reshape(H, W, 3)
    crop = grid.crop(torch.from_numpy(pixels).permute(2, 0, 1), 3)
    assert np.array_equal(crop.permute(1, 2, 0).numpy(), grid.crop(pixels, 3))


# -- streams ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained():
    from lift.model.bundled import pretrained_path
    from lift.model.weights import load_weights

    return load_weights(pretrained_path("tiny"))[0]


def test_one_tile_is_the_whole_frame(trained):
    whole = made(interpolator(trained, tile="off"))
    assert worst(whole, made(interpolator(trained))) == 0
    assert worst(whole, made(interpolator(trained, tile=96))) == 0


@pytest.mark.parametrize(
    "options",
    (
        {"tile": 64},
        {"tile": 64, "batch": 2, "multi": 3},
        {"scale": 0.5},
        {"tile": 64, "scale": 0.5},
    ),
    ids=str,
)
def test_tiles_and_reduced_motion_give_nearly_the_whole_frames(trained, options):
    options = dict(options)
    multi = options.pop("multi", 2)
    found = made(interpolator(trained, **options), multi)
    whole = made(interpolator(trained, tile="off"), multi)
    assert all(a.shape == b.shape == (3, H, W) for a, b in zip(found, whole, strict=True))
    assert 0 < worst(found, whole) < 0.05


def test_a_moving_ramp_has_no_seams(trained):
    ramp = (torch.arange(160.0) + torch.arange(96.0)[:, None]) / 320
    shots = [(ramp + 4 * k / 320).expand(3, -1, -1).contiguous() for k in range(2)]
    (frame,) = list(interpolator(trained, tile=64).frames(shots))[1::2]
    steps = frame.diff(dim=2) - 1 / 320
    assert steps.abs().max() < 0.5 / 255  # no step that an 8-bit image could show


def test_tiles_encode_each_frame_once_and_keep_no_images(model, monkeypatch):
    encoded, encode = [], Engine.encode
    monkeypatch.setattr(
        Engine, "encode", lambda self, x: encoded.append(tuple(x.shape[-2:])) or encode(self, x)
    )
    smooth = interpolator(model, tile=64)
    kept, windows = [], smooth._windows

    def watched(*arguments):
        for window, left in windows(*arguments):
            yield window, left
            kept.extend(tile.features for frame in window for tile in frame.tiles)

    monkeypatch.setattr(smooth, "_windows", watched)
    list(smooth.frames(frames(6)))
    grid = grid_of_side(H, W, 64, 16, 1.0)
    assert encoded == [grid.tile_size] * (6 * len(grid))
    assert any(kept) and all(f is None or f.image is f.keys is None for f in kept)


@pytest.mark.parametrize("options", ({"tile": 64}, {"tile": 64, "scale": 0.5}), ids=str)
def test_recorded_tiles_are_the_plain_ones(trained, options):
    """With one recording for all tiles of each call."""
    smooth, recorder = interpolator(trained, context_frames=4, **options), Recorder()
    smooth.engine.record(recorder)
    plain = made(interpolator(trained, context_frames=4, **options))
    assert worst(made(smooth), plain) < EXACT["atol"]
    assert recorder.recorded == 5  # the calls, each of them once


@pytest.mark.parametrize(
    "wrong",
    ({"tile": 16}, {"tile": "big"}, {"tile": 64.5}, {"scale": 0.0}, {"scale": 1.5}),
    ids=str,
)
def test_wrong_sizes_are_value_errors(model, wrong):
    with pytest.raises(ValueError, match="got"):
        interpolator(model, **wrong)


def test_a_reduced_step_is_as_long_as_it_was(trained):
    """Flows of reduced frames count in pixels of the frames themselves."""
    y, x = torch.meshgrid(torch.arange(96.0), torch.arange(128.0), indexing="ij")
    shots = [
        (0.5 + 0.4 * torch.sin((x - 4 * k) / 6) * torch.cos((y + 2 * k) / 7)).expand(3, -1, -1)
        for k in (0, 0.5, 1)
    ]
    found = interpolator(trained, scale=0.5).between(shots[0], shots[2], 0.5)
    inner = (..., slice(16, -16), slice(16, -16))
    assert (found - shots[1])[inner].abs().mean() < 0.01
    assert (shots[0] - shots[1])[inner].abs().mean() > 0.05


# -- memory ----------------------------------------------------------------------------------------


def test_short_streams_take_no_memory_for_slots_without_a_frame():
    ring, keys = KVRingBuffer(15), torch.rand(1, 2, 4, 4, 2, 8).bfloat16()
    ring.put(3, SimpleNamespace(keys=keys, values=-keys))
    assert ring.keys.dtype == torch.bfloat16 and ring.keys.data_ptr() % 64 == 0
    assert torch.equal(ring.keys[:, 3], keys) and torch.equal(ring.values[:, 3], -keys)
    assert ring.keys[:, :3].abs().max() == 0


def test_rings_of_tiles_are_read_at_one_address():
    rings, features = RingBuffers(2), torch.rand(2, 1, 1, 2, 2, 1, 8)
    for tile, keys in enumerate(features):
        rings.of(tile).put(0, SimpleNamespace(keys=keys, values=keys))
    read = [rings.at_fixed_address(rings.of(tile)) for tile in (0, 1, 0)]
    assert read[0].keys.data_ptr() == read[1].keys.data_ptr()
    assert torch.equal(read[2].keys, rings.of(0).keys)


class Limited(Engine):
    """An engine on a device that holds tiles of a number of pixels."""

    pixels = 48 * 64
    message = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."

    def encode(self, image):
        if image.shape[-2] * image.shape[-1] > self.pixels:
            raise RuntimeError(self.message)
        return super().encode(image)


@pytest.mark.parametrize("height, width", ((1080, 1920), (2160, 3840), (2304, 4096), (4320, 7680)))
def test_automatic_tiles_are_not_narrow(height, width):
    grid = grid_of_area(height, width, 1024 * 768, 16, 1.0)
    assert min(grid.tile_height, grid.tile_width) >= tiles.SHORT
    assert grid.tile_height * grid.tile_width <= 1024 * 768


def test_a_stream_goes_on_with_smaller_tiles_where_memory_is_missing(trained, monkeypatch):
    monkeypatch.setattr(tiles, "SMALLEST", 32)
    plain, smooth = made(interpolator(trained)), interpolator(trained)
    smooth.engine.__class__ = Limited
    while True:
        try:
            found = made(smooth)
            break
        except OutOfMemory as error:
            assert error.tile[0] * error.tile[1] > Limited.pixels
            assert smooth.use_smaller_tiles()
    assert worst(found, plain) < 0.05


def test_where_tiles_cannot_be_smaller_the_error_says_what_to_do(model):
    for options in ({"tile": "off"}, {}):
        smooth = interpolator(model, **options)
        smooth.engine.__class__ = Limited
        with pytest.raises(OutOfMemory, match="--tile.*--scale.*--context_frames") as caught:
            made(smooth)
        assert "frames of 90x70 do not fit into memory" in str(caught.value)
        assert not smooth.use_smaller_tiles()


def test_other_errors_stay_what_they_are(model, monkeypatch):
    smooth = interpolator(model)
    monkeypatch.setattr(Limited, "message", "shapes differ")
    smooth.engine.__class__ = Limited
    with pytest.raises(RuntimeError, match="shapes differ"):
        made(smooth)


def test_tiles_follow_the_memory_that_is_free(model, monkeypatch):
    monkeypatch.setattr(tiles, "SMALLEST", 32)
    areas = []
    for area in (10**9, 64 * 64):
        monkeypatch.setattr(frame_generator, "tile_area", lambda need, *_, area=area, **__: area)
        smooth = interpolator(model)
        made(smooth, n=2)
        areas.append(smooth.generator.grid(H, W).tile_size)
    assert areas[0] == (80, 96) and np.prod(areas[1]) <= 64 * 64


# -- streams that begin in the middle --------------------------------------------------------------


@pytest.mark.parametrize(
    "context_frames, multi, tile",
    (
        (15, 2, "off"),
        (4, 3, "off"),
        pytest.param(15, 2, 32, marks=pytest.mark.slow),
    ),
)
def test_a_stream_from_the_middle_on_is_the_unbroken_one(trained, context_frames, multi, tile):
    shots = tensors(9, 32, 48) + tensors(9, 32, 48, tint=(40, 70, 160))  # a cut before frame 9
    timed = [(frame, Fraction(k, 24)) for k, frame in enumerate(shots)]

    def outputs(timed, **options):
        smooth = Interpolator(trained, context_frames=context_frames, tile=tile)
        return list(smooth.stream(timed, MultiplierSchedule(multi), **options)), smooth.cuts

    whole, cuts = outputs(timed)
    assert cuts == 1
    for start in (2, 12, 15):
        first = max(start - 10, 0)
        found, cuts = outputs(timed[first:], first_index=first, start_index=start)
        assert cuts == (start <= 8)
        for a, b in zip(found, whole[start * multi :], strict=True):
            assert torch.equal(a.frame, b.frame)
            assert (a.time, a.is_generated) == (b.time, b.is_generated)
