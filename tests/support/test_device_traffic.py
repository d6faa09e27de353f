"""The trace finds each kind of copy and wait, once, where it is caused, and nothing else."""

import numpy as np
import pytest
import torch

from lift.profiling.dataless import dataless
from tests.support.device_traffic import device_traffic

H, D = "cpu", "cuda"


def counts(found):
    return tuple(map(len, (found.uploads, found.downloads, found.waits, found.synchronizations)))


UPLOADS = {
    "tensor": lambda x: torch.tensor([1.0, 2.0], device=D),
    "number": lambda x: torch.tensor(1.0, device=D),
    "to": lambda x: torch.zeros(3).to(D),
    "numpy": lambda x: torch.from_numpy(np.zeros((2, 3), np.uint8)).to(D),
    "cuda": lambda x: torch.zeros(3).cuda(),
    "copy_": lambda x: x.copy_(torch.zeros(2, 3)),
    "foreach": lambda x: torch._foreach_copy_([x], [torch.zeros(2, 3)]),
    "index": lambda x: x[torch.zeros(4, dtype=torch.int64)],
}
DOWNLOADS = {
    "cpu": lambda x: x.cpu(),
    "to": lambda x: x.to(H),
    "numpy": lambda x: x.cpu().numpy(),
    "copy_": lambda x: torch.zeros(2, 3).copy_(x),
}
WAITS = {
    "item": lambda x: x[0, 0].item(),
    "float": lambda x: float(x[0, 0]),
    "bool": lambda x: bool((x > 0).any()),
    "int": lambda x: int(x.sum()),
    "tolist": lambda x: x.tolist(),
    "nonzero": lambda x: x.nonzero(),
    "mask": lambda x: x[x > 0],
    "select": lambda x: torch.masked_select(x, x > 0),
    "equal": lambda x: torch.equal(x, x),
    "put": lambda x: x.__setitem__(x > 0, torch.ones(6, device=D)),
}
NOTHING = {
    "full": lambda x: torch.full((3,), 0.5, device=D),
    "arange": lambda x: torch.arange(5, device=D) / 4,
    "where": lambda x: torch.where(x > 0, x, 0.0),
    "number": lambda x: x * 2.5 + 1,
    "masked": lambda x: x.__setitem__(x > 0, 0.0),
    "slices": lambda x: x[None, ..., :2][:, 1:, -1],
    "index": lambda x: x[torch.zeros(4, dtype=torch.int64, device=D)],
    "host": lambda x: (torch.ones(3)[1].item(), torch.ones(3).tolist(), torch.ones(3).numpy()),
}


@pytest.mark.parametrize("kind, cases", list(enumerate((UPLOADS, DOWNLOADS, WAITS))))
def test_each_kind_is_found_once(kind, cases):
    for name, cause in cases.items():
        with device_traffic() as found:
            cause(torch.empty(2, 3, device=D))
        assert counts(found) == tuple(int(k == kind) for k in range(4)), name


def test_what_stays_on_its_device_is_no_traffic():
    for name, cause in NOTHING.items():
        with device_traffic() as found:
            cause(torch.empty(2, 3, device=D))
        assert counts(found) == (0, 0, 0, 0), name


def test_shapes_are_those_of_real_tensors():
    real, mask = torch.rand(2, 3, 4), torch.ones(2, 3, dtype=torch.bool)
    for index in (
        0,
        (0, 1),
        (..., 2),
        (slice(1), None, 1),
        mask,
        (slice(None), [0, 2]),
        (None, ..., slice(0, 4, 2)),
        (1, slice(None), torch.tensor([3])),
    ):
        with device_traffic():
            got = torch.empty(2, 3, 4, device=D)[index].shape
        assert got == real[index].shape, index


def test_only_page_locked_memory_is_copied_without_a_wait():
    with device_traffic() as found:
        x = torch.zeros(3)
        for source, flag in (
            (x, False),
            (x, True),
            (x.pin_memory(), False),
            (x.pin_memory(), True),
            (torch.empty(3, pin_memory=True)[:2], True),
        ):
            source.to(D, non_blocking=flag)
        on = torch.empty(3, device=D)
        on.to(H, non_blocking=True)
        on.cpu()
        x.copy_(on, non_blocking=True)
        torch.empty(3, pin_memory=True).copy_(on, non_blocking=True)
    assert [(r.pinned, r.blocking) for r in found.uploads] == [
        (False, True),
        (False, True),
        (True, True),
        (True, False),
        (True, False),
    ]
    assert [(r.pinned, r.blocking) for r in found.downloads] == [
        (True, False),
        (False, True),
        (False, True),
        (True, False),
    ]
    assert [r.size for r in found.uploads] == [12, 12, 12, 12, 8]


def test_waits_for_streams_and_events_are_a_kind_of_their_own():
    with device_traffic() as found:
        stream, event = torch.cuda.Stream(), torch.cuda.Event()
        with torch.cuda.stream(stream):
            event.record()
        torch.cuda.current_stream().wait_stream(stream)
        assert counts(found) == (0, 0, 0, 0)
        event.synchronize()
        stream.synchronize()
        torch.cuda.synchronize()
    assert [r.op for r in found.synchronizations] == [
        "Event.synchronize",
        "Stream.synchronize",
        "synchronize",
    ]


def test_the_place_is_the_innermost_line_of_the_package():
    from lift.data.clip import map_tensors
    from lift.model.types import mean_difference

    with device_traffic() as found:
        image = torch.empty(1, 3, 4, 4, device=D)
        mean_difference(image, image).item()
        map_tensors(lambda x: x.cpu(), torch.empty(3, device=D))
    assert found.waits[0].place == ""
    assert found.downloads[0].place.startswith("lift/data/clip.py:")


def test_gradients_appear_without_being_computed():
    with device_traffic() as found:
        layer = dataless(torch.nn.Linear(3, 2))
        layer(torch.empty(4, 3, device=D)).sum().backward()
        assert all(p.is_cuda and p.grad.shape == p.shape for p in layer.parameters())
        torch.nn.utils.clip_grad_norm_(layer.parameters(), 1.0)
    assert counts(found) == (0, 0, 0, 0)


def test_modules_move_to_the_gpu_and_leave_the_real_one_alone():
    layer = torch.nn.Linear(3, 2)
    with device_traffic() as found:
        moved = dataless(layer, "cpu").to(D).half()
        assert moved(torch.empty(4, 3, dtype=torch.float16, device=D)).shape == (4, 2)
    assert counts(found) == (2, 0, 0, 0)
    assert layer.weight.device.type == "cpu" and layer(torch.ones(1, 3)).dtype == torch.float32
