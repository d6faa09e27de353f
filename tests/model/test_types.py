"""Types between stages: indexing, expansion, nesting."""

import torch

from lift.data.clip import map_tensors
from lift.model.types import FlowEstimate, FrameFeatures, Motion, expand, mean_difference


def features(n: int) -> FrameFeatures:
    s4, s8, s16 = (torch.rand(n, 2, size, size) for size in (8, 4, 2))
    image, quarter = (torch.rand(n, 3, size, size) for size in (32, 8))
    luma2, luma4, luma8 = (torch.rand(n, 1, size, size) for size in (16, 8, 4))
    keys, values = torch.rand(2, n, 1, 2, 2, 1, 4)
    images = image, luma2, quarter, luma4, luma8
    return FrameFeatures(s4, s8, s16, *images, keys, values, (31, 30))


def test_an_index_keeps_the_axis_of_frames():
    three = features(3)
    assert len(three) == 3 and len(three[1]) == 1 and len(three[-1]) == 1
    assert torch.equal(three[-1].keys, three.keys[2:])
    assert torch.equal(three[torch.tensor([2, 0])].s8, three.s8[[2, 0]])


def test_references_need_no_keys_and_context_no_maps():
    three = features(3)
    assert three.reference_only().keys is None and three.reference_only().s4 is three.s4
    assert three.context_only().s16 is None and three.context_only().quarter is None
    assert three.context_only().keys is three.keys
    low = three.low_resolution_only()
    assert low.image is low.keys is None and low.luma2 is three.luma2
    assert len(three.reference_only()) == len(three.context_only()) == len(low) == 3
    assert three.reference_only()[0].keys is None


def test_halves_are_views_with_one_gradient():
    four = features(4)
    four.s8.requires_grad_()
    first, second = four.reference_only().halves()
    assert torch.equal(second.image, four.image[2:]) and second.size == four.size
    assert first.s4.data_ptr() == four.s4.data_ptr() and first.keys is None
    (2 * first.s8 + 3 * second.s8).sum().backward()
    assert four.s8.grad[:, 0, 0, 0].tolist() == [2, 2, 3, 3]


def test_expanding_copies_nothing():
    one = features(1)
    many = expand((one, None), 4)[0]
    assert len(many) == 4 and many.s4.data_ptr() == one.s4.data_ptr() and many.s4.stride(0) == 0
    four = features(4)
    assert expand(four, 4).s4.data_ptr() == four.s4.data_ptr()


def test_tensors_are_mapped_at_any_depth():
    estimate = FlowEstimate(torch.rand(1, 6, 4, 4), 4)
    doubled = map_tensors(lambda x: 2 * x, Motion((estimate, estimate), torch.ones(1)))
    assert torch.equal(doubled.cascade[1].flow_t1, 2 * estimate.flow_t1)
    assert doubled.cascade[0].scale == 4 and doubled.hidden == 2


def test_motion_between_the_references_is_the_difference_of_the_flows():
    estimate = FlowEstimate(torch.rand(1, 6, 4, 4), 4)
    motion = Motion((estimate,), torch.rand(1))
    assert torch.equal(motion.flow_01, estimate.flow_t1 - estimate.flow_t0)


def test_the_mean_difference_is_that_of_each_pair():
    a = torch.zeros(2, 3, 4, 4)
    b = torch.stack((torch.full((3, 4, 4), 0.5), torch.zeros(3, 4, 4)))
    assert mean_difference(a, b).tolist() == [0.5, 0]
