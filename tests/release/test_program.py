"""A model as an exported program: any size, saved and loaded, moved to a GPU (without data)."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.export.passes import move_to_device_pass
from torch.utils._pytree import tree_leaves

from lift.errors import LiftError
from lift.profiling.dataless import GPU, cuda_guard
from lift.release import program
from lift.release.tensor_function import Interpolation, example
from tests.support.models import awake_lift

FRAMES = 3  # one beside the references, so that paths are curved


@pytest.fixture(scope="module")
def exported():
    torch.manual_seed(0)
    model = awake_lift()
    return model, program.export_program(model, FRAMES)


@pytest.fixture(scope="module")
def loaded(exported, tmp_path_factory):
    path = tmp_path_factory.mktemp("program") / "model.pt2"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(program, "export_program", lambda model, frames: exported[1])
        program.main([str(path)])
    return torch.export.load(path)


def targets(program) -> set[str]:
    return {str(node.target) for node in program.graph.nodes if node.op == "call_function"}


@torch.no_grad()
@pytest.mark.parametrize("size", [(64, 48), (50, 70), (17, 33), (32, 96)])
def test_a_program_computes_the_same_frames_at_any_size(exported, size):
    model, exported_program = exported
    inputs = example(*size, FRAMES).values()
    expected = Interpolation(model, 1)(*inputs)
    torch.testing.assert_close(exported_program.module()(*inputs), expected, rtol=0, atol=1e-4)


def test_sizes_have_no_bound_but_the_smallest(exported):
    ranges = exported[1].range_constraints.values()
    assert [(int(r.lower), r.upper > 1 << 40) for r in ranges] == [(17, True)] * 2


def test_a_program_is_bound_to_no_backend(exported):
    spaces = {name.split(".")[0] for name in targets(exported[1]) if name.startswith("lift")}
    assert spaces == {"lift"}
    assert not [name for name in targets(exported[1]) if "autocast" in name]


def test_a_loaded_program_runs_on_a_gpu(loaded):
    class Devices(torch.fx.Interpreter):
        found = set()

        def run_node(self, node):
            result = super().run_node(node)
            tensors = [x for x in tree_leaves(result) if isinstance(x, torch.Tensor)]
            self.found |= {x.device for x in tensors}
            return result

    try:
        with cuda_guard(), FakeTensorMode(allow_non_fake_inputs=True) as mode:
            state = loaded.state_dict.items()
            loaded._state_dict = {name: mode.from_tensor(x) for name, x in state}
            module = move_to_device_pass(loaded, str(GPU)).module()
            devices = Devices(module)
            frame = devices.run(*[x.to(GPU) for x in example(50, 70, FRAMES).values()])
    except LiftError as error:
        pytest.skip(str(error))
    assert tree_leaves(frame)[0].shape == (1, 3, 50, 70)
    assert devices.found == {GPU}
