"""The fused kernel of `change_map` against the reference."""

import pytest
import torch

from lift import kernels
from lift.kernels.ops.change_map.op import CHANGE_MAP
from tests.support.op_suite import OpSuite


def images(*size: int):
    return lambda dtype, generator: tuple(torch.rand(2, *size, generator=generator).to(dtype))


class TestChangeMap(OpSuite):
    op = CHANGE_MAP
    cases = {
        "small": images(2, 3, 2, 12),
        "one block": images(1, 3, 2, 2),
        "two rows of programs": images(1, 3, 18, 4),
        "two columns of programs": images(1, 3, 2, 134),
        "none": images(0, 3, 2, 2),
    }

    def test_what_is_not_supported_has_a_reason(self):
        image0, image1 = self.make("one block", "float32")
        for arguments, reason in (
            ((image0.double(), image1.double()), "images of float64"),
            ((image0, image1.requires_grad_()), "a gradient of image1 is required"),
        ):
            found = kernels.unsupported_reasons("change_map", *arguments)["triton"]
            assert found.startswith(reason)


class TestChangeMapCpp(TestChangeMap):
    backend_name = "cpp"
    half_layouts = ()
    layouts = (*TestChangeMap.layouts, "transposed")
    cases = {
        **TestChangeMap.cases,
        "small": images(2, 3, 10, 38),
        "several vectors and threads": images(2, 3, 70, 158),
    }
    test_what_is_not_supported_has_a_reason = None

    def test_float64_is_computed_in_float64(self):
        image0, image1 = (x.double() for x in self.make("small", "float32"))
        found, expected = (
            kernels.change_map(image0, image1, backend=b) for b in ("cpp", "reference")
        )
        torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-12)

    @pytest.mark.parametrize("value", [torch.nan, -torch.nan, torch.inf])
    @pytest.mark.parametrize("image", [0, 1])
    def test_what_is_not_finite_spoils_the_pixels_around(self, value, image):
        image0, image1 = arguments = self.make("small", "float32")
        arguments[image][0, 1, 4, 9] = value
        found = kernels.change_map(image0, image1, backend="cpp").isnan()
        assert found[0, 0, 1:4, 3:6].all() and found.sum() == 9
