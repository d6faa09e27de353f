"""`propagate`: which flows a pixel gets, and which arguments it takes."""

import pytest
import torch

from lift import kernels
from lift.kernels import dispatch
from lift.kernels.ops.propagate.op import PROPAGATE
from tests.support.op_suite import OpSuite

BACKENDS = [i.name for i in dispatch.operations()["propagate"]]


def make(dtype, generator, B: int, h: int, w: int, distance: int) -> tuple:
    lumas = [torch.rand(B, 1, 2 * h, 2 * w, generator=generator).to(dtype) for _ in range(2)]
    return *lumas, 3 * torch.randn(B, 6, h, w, generator=generator), distance


LUMA0, LUMA1, STATE, DISTANCE = make(torch.float32, torch.Generator().manual_seed(0), 2, 4, 9, 2)


class TestPropagate(OpSuite):
    op = PROPAGATE
    without_gradient = (0, 1)  # the images
    cases = {
        "small": lambda dtype, generator: make(dtype, generator, 2, 2, 5, 1),
        "several programs": lambda dtype, generator: make(dtype, generator, 1, 3, 66, 2),
        "one column": lambda dtype, generator: make(dtype, generator, 1, 7, 1, 2),
        "beyond every border": lambda dtype, generator: make(dtype, generator, 1, 2, 3, 1000),
        "none": lambda dtype, generator: make(dtype, generator, 0, 2, 3, 1),
    }


class TestPropagateCpp(TestPropagate):
    backend_name = "cpp"
    half_layouts = ()
    layouts = (*TestPropagate.layouts, "transposed")
    cases = {
        **TestPropagate.cases,
        "small": lambda dtype, generator: make(dtype, generator, 2, 9, 21, 3),
        "several strips and threads": lambda dtype, generator: make(dtype, generator, 2, 70, 75, 8),
    }

    def test_float64_is_computed_in_float64(self):
        arguments = [x.double() if torch.is_tensor(x) else x for x in self.make("small", "float32")]
        found, expected = (kernels.propagate(*arguments, backend=b) for b in ("cpp", "reference"))
        torch.testing.assert_close(found, expected, atol=1e-10, rtol=0)


def moving(h: int, w: int, dx: int, dy: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Two images of a random texture that moves by an even number of pixels, (1, 1, 2 h, 2 w)."""
    generator = torch.Generator().manual_seed(1)
    texture = torch.rand(1, 1, 2 * h, 2 * w, generator=generator)
    return texture, texture.roll((dy, dx), (2, 3))


def state_of(flow0, flow1, h: int, w: int) -> torch.Tensor:
    """A state (1, 6, h, w) of two flows, each (2,)."""
    values = torch.tensor([*flow0, *flow1, 0.3, -0.4])
    return values.view(1, 6, 1, 1).repeat(1, 1, h, w)


def propagate(backend, *arguments):
    reason = kernels.unsupported_reasons("propagate", *arguments)[backend]
    if reason:
        pytest.skip(reason)
    return kernels.propagate(*arguments, backend=backend)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("x", "y"), [(1, 0), (0, 1), (-1, 0), (0, -1)])
def test_the_flows_at_the_distance_are_taken_where_they_are_right(backend, x, y):
    """Half of the frame has the right flows: they reach the pixels at the distance from it."""
    h, w, distance = 14, 16, 3
    images = moving(h, w, 4, -2)  # 2 and -1 pixels of the state
    right, wrong = state_of((-1, 0.5), (1, -0.5), h, w), state_of((0, 0), (0, 0), h, w)
    columns, rows = torch.arange(w).expand(h, w), torch.arange(h)[:, None].expand(h, w)
    inside = columns >= 8 if x > 0 else columns < 8
    if y:
        inside = rows >= 7 if y > 0 else rows < 7
    state = torch.where(inside, right, wrong)
    out = propagate(backend, *images, state, distance)
    reached = inside.roll((-y * distance, -x * distance), (0, 1)) | inside
    # windows that lie in what was reached, away from the borders that the texture crosses
    safe = torch.zeros_like(inside)
    safe[4:-4, 4:-4] = True
    around = torch.nn.functional.max_pool2d((~reached).float()[None, None], 5, 1, 2)[0, 0] == 0
    found = out[0, :, safe & around]
    assert found.shape[1] > (safe & inside).sum() / 2
    torch.testing.assert_close(found, right[0, :, safe & around], atol=1e-3, rtol=0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_right_flows_stay(backend):
    h, w = 12, 14
    state = state_of((-0.5, 0), (0.5, 0), h, w)
    state[..., 11:] += 1  # wrong, and compared with those of the columns 9 to 12
    out = propagate(backend, *moving(h, w, 2, 0), state, 2)
    torch.testing.assert_close(out[..., 2:-2, 2:9], state[..., 2:-2, 2:9], atol=1e-3, rtol=0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_of_images_that_tell_nothing_the_flows_are_averaged(backend):
    flat = torch.full((1, 1, 12, 16), 0.4)
    state = torch.randn(1, 6, 6, 8, generator=torch.Generator().manual_seed(2))
    out = propagate(backend, flat, flat, state, 1)
    mean = (
        state[..., 1:-1, 1:-1]
        + state[..., 1:-1, 2:]
        + state[..., 1:-1, :-2]
        + state[..., 2:, 1:-1]
        + state[..., :-2, 1:-1]
    ) / 5
    torch.testing.assert_close(out[:, :4, 1:-1, 1:-1], mean[:, :4], atol=1e-5, rtol=0)
    assert torch.equal(out[:, 4:], state[:, 4:])


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_pixel_beyond_the_border_has_no_say(backend):
    flat = torch.full((1, 1, 4, 6), 0.4)
    state = torch.randn(1, 6, 2, 3, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(propagate(backend, flat, flat, state, 3), state)
    out = propagate(backend, flat, flat, state, 2)  # columns 0 and 2 see each other
    own, other = state[:, :4, :, ::2], state[:, :4, :, ::2].flip(3)
    torch.testing.assert_close(out[:, :4, :, ::2], (4 * own + other) / 5)
    torch.testing.assert_close(out[:, :4, :, 1], state[:, :4, :, 1])


@pytest.mark.parametrize("backend", BACKENDS)
def test_gradients_pass_to_the_flows_that_were_taken(backend):
    h, w = 12, 14
    state = state_of((-1, 0), (1, 0), h, w)
    state[..., :6] = 0  # wrong; those of the columns 3 to 5 take the flows at the distance
    state.requires_grad_()
    luma0, luma1 = (x.requires_grad_() for x in moving(h, w, 4, 0))
    out = propagate(backend, luma0, luma1, state, 3)
    assert out.is_contiguous() and (out[0, 0, 4:-4, 3:4] + 1).abs().max() < 1e-3
    sums = out[:, :4, 4:-4, 3].sum() + 2 * out[:, 4:, 4:-4, 3].sum()
    (found,) = torch.autograd.grad(sums, state, retain_graph=True)
    expected = torch.zeros_like(found)
    expected[:, :4, 4:-4, 6], expected[:, 4:, 4:-4, 3] = 1, 2
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)
    assert torch.autograd.grad(out.sum(), luma0, allow_unused=True) == (None,)


@pytest.mark.parametrize("backend", BACKENDS)
def test_weights_are_constants_of_the_gradient(backend):
    """It is that of the mean: the derivative by all flows together is that of a flow."""
    state = STATE.clone().requires_grad_()
    out = propagate(backend, LUMA0, LUMA1, state, DISTANCE)
    weights = torch.randn(2, 6, 1, 1)
    (found,) = torch.autograd.grad((out * weights).sum(), state)
    expected = weights.expand_as(found).sum((2, 3))
    torch.testing.assert_close(found.sum((2, 3)), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_second_derivatives_and_tangents_are_those_of_the_mean(backend):
    """It is linear in the flows: twice the transposed of the mean applied to the mean of ones."""

    def square(state):
        return (propagate(backend, LUMA0, LUMA1, state, DISTANCE) ** 2).sum()

    state = STATE.clone().requires_grad_()
    (first,) = torch.autograd.grad(square(state), state, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), state)
    tangent = torch.randn(STATE.shape, generator=torch.Generator().manual_seed(3))
    _, moved = torch.func.jvp(square, (STATE,), (tangent,))
    torch.testing.assert_close(moved, (first.detach() * tangent).sum(), atol=1e-2, rtol=1e-4)
    _, along = torch.func.jvp(torch.func.grad(square), (STATE,), (torch.ones_like(STATE),))
    torch.testing.assert_close(second, along, atol=1e-4, rtol=1e-4)
    assert (second[:, 4:] == 2).all() and second[:, :4].std() > 0.1


@pytest.mark.parametrize("backend", BACKENDS[:-1])
def test_the_weights_alone_are_saved(backend):
    saved, state = [], STATE.clone().requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(lambda x: saved.append(x.shape), lambda x: x):
        propagate(backend, LUMA0, LUMA1, state, DISTANCE)
    assert saved == [(2, 5, 4, 9)]


@pytest.mark.skipif("cpp" not in BACKENDS, reason="there is no C++ backend")
def test_threads_change_no_bit():
    inputs = make(torch.float32, torch.Generator().manual_seed(0), 1, 67, 130, 8)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            found.append(propagate("cpp", *inputs))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(found[0], x) for x in found[1:])


def test_under_autocast_half_states_are_cast():
    with torch.autocast("cpu", torch.bfloat16):
        out = kernels.propagate(LUMA0, LUMA1, STATE.bfloat16(), DISTANCE)
    assert out.dtype == torch.float32


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((LUMA0[0], LUMA1, STATE, 1), ValueError, r"luma0 must be \(B, C, H, W\)"),
        ((STATE, STATE, STATE, 1), ValueError, r"luma0 must be \(B, 1, H, W\) with even H and W"),
        ((LUMA0[..., 1:], LUMA1, STATE, 1), ValueError, "with even H and W"),
        ((LUMA0, LUMA1.half(), STATE, 1), TypeError, "luma1 must be torch.float32"),
        ((LUMA0, LUMA1, STATE[:, 1:], 1), ValueError, r"state must be \(2, 6, 4, 9\)"),
        ((LUMA0, LUMA1, STATE.half(), 1), TypeError, "state must be torch.float32"),
        ((LUMA0, LUMA1, STATE, 0), ValueError, "distance must be at least 1, got 0"),
    ],
)
def test_wrong_arguments_have_a_clear_error(arguments, error, message):
    with pytest.raises(error, match=message):
        kernels.propagate(*arguments)
