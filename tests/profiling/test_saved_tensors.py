"""The one counter of activation memory: every storage once, the excluded ones not."""

import torch

from lift.saved_tensors import on_saved_storage, saved_bytes


def test_a_storage_counts_once_however_many_tensors_share_it():
    image = torch.rand(2, 3, 4, requires_grad=True)
    out, saved = saved_bytes(lambda: (image * image[:1]).sum() + (image * image).sum())
    assert saved == image.nbytes and out.requires_grad


def test_excluded_tensors_do_not_count():
    layer, x = torch.nn.Linear(4, 5), torch.rand(3, 4, requires_grad=True)
    assert saved_bytes(lambda: layer(x))[1] == x.nbytes + layer.weight.nbytes
    assert saved_bytes(lambda: layer(x), exclude=layer.parameters())[1] == x.nbytes


def test_nothing_is_saved_without_gradients():
    x = torch.rand(3)
    assert saved_bytes(lambda: x * x)[1] == 0


def test_sizes_arrive_while_the_computation_runs():
    x, sizes = torch.rand(6, requires_grad=True), []
    with on_saved_storage(sizes.append):
        y = x.exp()
        assert sizes == [x.nbytes]
        (y * y).sum()
    assert sizes == [x.nbytes]  # y is already saved
