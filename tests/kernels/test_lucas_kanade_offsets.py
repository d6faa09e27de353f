"""The kernels of `lucas_kanade` follow offsets past 2^31 that come of strides below it.

In memory that is hardly touched; `test_lucas_kanade_gpu.py` fills it.
"""

import pytest
import torch

from lift.kernels import dispatch
from tests.support.far_memory import far
from tests.support.lucas_kanade_cases import INTERPRETED, NAMES, fused, make
from tests.support.parity import LAYOUTS

pytestmark = pytest.mark.skipif(not INTERPRETED, reason="needs Triton's interpreter")
backends = pytest.mark.parametrize(
    "backend", [i.name for i in dispatch.operations()["lucas_kanade"] if i.fused]
)

DIMENSIONS = {"channels": 1, "rows": 2, "columns": 3}
READ = [
    *((name, "contiguous", dimension) for name in NAMES[:2] for dimension in DIMENSIONS),
    *(
        (name, "channels_last", dimension)
        for name in NAMES[:2]
        for dimension in ("rows", "columns")
    ),
    *((name, "contiguous", dimension) for name in NAMES[2:4] for dimension in ("rows", "columns")),
]


@pytest.mark.slow
@backends
@pytest.mark.parametrize(("name", "layout", "dimension"), READ)
def test_what_is_read(backend, name, layout, dimension):
    dense = make(backend, ("float32", "contiguous", (1, 3, 3, 3), "random"))
    dense = {n: x if n == "t" else LAYOUTS[layout](x) for n, x in zip(NAMES, dense, strict=True)}
    distant = dense | {name: far(dense[name], DIMENSIONS[dimension])}
    assert torch.equal(fused(backend)(*distant.values()), fused(backend)(*dense.values()))
