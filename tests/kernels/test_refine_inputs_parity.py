"""The fused kernels of `refine_inputs` against the reference."""

from lift.kernels.ops.refine_inputs.op import REFINE_INPUTS
from tests.support.op_suite import OpSuite
from tests.support.refine_cases import maps, references


def _case(stride: int, size: tuple[int, int], batch: int = 1, has_missing: bool = True):
    def make(dtype, generator):
        state, missing = maps(generator, batch, size, 6, 2)
        missing = missing if has_missing else None
        return *references(generator, batch, size), state, missing, stride, dtype

    return make


class TestRefineInputs(OpSuite):
    op = REFINE_INPUTS
    cases = {
        "stride 2": _case(2, (6, 10), batch=2),
        "stride 1": _case(1, (6, 4)),
        "stride 4": _case(4, (8, 12)),
        "stride 1 without missing": _case(1, (2, 2), has_missing=False),
        "stride 4 without missing": _case(4, (4, 4), has_missing=False),
        "several programs": _case(2, (26, 22)),
    }
    layouts = ("contiguous", "sliced")
    half_layouts = ("contiguous",)
    without_gradient = (0, 1)


class TestRefineInputsCpp(TestRefineInputs):
    backend_name = "cpp"
    has_gradient = False
    cases = TestRefineInputs.cases | {
        "stride 1, several strips": _case(1, (6, 134)),
        "stride 2, several strips": _case(2, (6, 134)),
        "stride 2 without missing": _case(2, (4, 70), has_missing=False),
        "stride 4, several strips": _case(4, (12, 132)),
        "several threads": _case(2, (64, 258), batch=3),
    }
    layouts = ("contiguous", "channels_last", "sliced")
    half_layouts = ("contiguous", "channels_last")
