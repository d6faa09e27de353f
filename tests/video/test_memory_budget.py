"""The estimate of a stream's memory against a count of tensors, and what a system says is free."""

import weakref

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lift.model.factory import create_lift_model
from lift.video import memory_budget
from lift.video.engine import Engine
from lift.video.interpolator import Interpolator
from lift.video.memory_budget import BytesPerPixel, bytes_per_pixel, free_memory, tile_area

CPU = torch.device("cpu")
SIDE = 128


class Peak(TorchDispatchMode):
    """The largest memory of the tensors made inside the block, bytes."""

    def __init__(self):
        super().__init__()
        self.now = self.highest = 0
        self.known = set()

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        out = function(*arguments, **(keywords or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                self._add(tensor.untyped_storage())
        return out

    def _add(self, storage):
        key, size = storage._cdata, storage.nbytes()
        if key not in self.known:
            self.known.add(key)
            self.now += size
            self.highest = max(self.highest, self.now)
            weakref.finalize(storage, self._remove, key, size)

    def _remove(self, key, size):
        self.known.discard(key)
        self.now -= size


@pytest.mark.parametrize("dtype", (torch.float32, torch.bfloat16), ids=str)
@pytest.mark.parametrize("preset", ("tiny", pytest.param("base", marks=pytest.mark.slow)))
def test_a_pair_takes_no_more_than_estimated(preset, dtype):
    smooth = Interpolator(
        create_lift_model(preset), 2, dtype=dtype, detect_scenes=False, tile="off"
    )
    frames = torch.rand(2, 3, SIDE, SIDE)
    with Peak() as found:
        smooth.between(*frames, 0.3)
    need = bytes_per_pixel(smooth.engine.model, CPU, dtype, 2)
    estimate = (need.kept + need.images + need.working) * SIDE**2
    weights = 3 * sum(p.numel() * p.element_size() for p in smooth.engine.model.parameters())
    assert found.highest - weights <= estimate <= 2.5 * found.highest


def test_half_precision_and_reduced_frames_need_less():
    model = create_lift_model("tiny")
    full = bytes_per_pixel(model, CPU, torch.float32, 15)
    half = bytes_per_pixel(model, CPU, torch.bfloat16, 15)
    reduced = bytes_per_pixel(model, CPU, torch.float32, 15, scale=0.5)
    short = bytes_per_pixel(model, CPU, torch.float32, 4)
    assert half.working < full.working and half.kept < full.kept
    assert reduced.kept < 0.4 * full.kept and short.kept < full.kept


@pytest.mark.parametrize(
    "free, area",
    ((None, 1000), (10**9, 1000), (40_000, 1000), (30_000, 400), (10_000, 0)),
)
def test_tiles_take_what_the_frames_leave(monkeypatch, free, area):
    monkeypatch.setattr(memory_budget, "free_memory", lambda device: free)
    assert tile_area(BytesPerPixel(kept=20, images=2, working=10), 1000, CPU) == area


def test_a_cpu_computes_tiles_that_are_larger_in_no_case_than_useful(monkeypatch):
    monkeypatch.setattr(memory_budget, "free_memory", lambda device: 10**12)
    need = BytesPerPixel(kept=100, images=10, working=memory_budget.CPU_BUDGET / 10**6)
    assert abs(tile_area(need, 10**7, CPU) - 10**6) <= 1
    heavy = BytesPerPixel(kept=100, images=10, working=memory_budget.CPU_BUDGET / 1000)
    assert tile_area(heavy, 10**7, CPU) == memory_budget.USUAL_AREA


@pytest.fixture
def system(tmp_path, monkeypatch):
    """A system's files."""
    monkeypatch.setattr(memory_budget, "ROOT", tmp_path)

    def write(name, text):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)

    return write


def test_free_memory_is_what_the_system_and_the_container_leave(system):
    assert free_memory(CPU) is None
    system("proc/meminfo", "MemTotal: 9 kB\nMemFree: 5 kB\nMemAvailable: 8000 kB\n")
    assert free_memory(CPU) == 8000 * 1024
    system("proc/self/cgroup", "0::/user/job\n")
    for group, limit in (("user", "9000000"), ("user/job", "max")):
        system(f"sys/fs/cgroup/{group}/memory.max", limit)
        system(f"sys/fs/cgroup/{group}/memory.current", "6000000")
        system(f"sys/fs/cgroup/{group}/memory.stat", "anon 1\ninactive_file 500000\n")
    assert free_memory(CPU) == 3_500_000


def test_containers_of_the_older_kind_count_too(system):
    system("proc/meminfo", "MemAvailable: 8000 kB\n")
    system("proc/self/cgroup", "5:cpu:/\n4:memory:/docker/1\n")
    system("sys/fs/cgroup/memory/memory.limit_in_bytes", "4000000")
    system("sys/fs/cgroup/memory/memory.usage_in_bytes", "3000000")
    system("sys/fs/cgroup/memory/memory.stat", "total_inactive_file 1000\n")
    assert free_memory(CPU) == 1_001_000


def test_an_engine_of_reduced_frames_says_what_sides_it_takes():
    model = create_lift_model("tiny")
    for scale, multiple in ((1, 16), (0.5, 32), (0.25, 64), (0.75, 64)):
        engine = Engine(model, CPU, scale=scale)
        assert (engine.scale, engine.multiple) == (scale, multiple)
