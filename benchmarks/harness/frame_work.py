"""Least work of the ops in `frame_suites.py`; see `work.py`."""

from benchmarks.harness.work import BYTES, FLOAT, Work


def frame_inputs(shape: tuple[int, ...], dtype: str, backward: bool) -> Work:
    """Shape (N, H, W), padded to multiples of 16; dtype is that of the encoder's input.

    There is no backward. Per padded pixel: 6 operations for the encoder's input, 3 for means over
    2 x 2. Per four of them 5 for luma, per sixteen 12 for means and 5 for luma, per 64 four more.
    """
    N, H, W = shape
    h, w = -(-H // 16) * 16, -(-W // 16) * 16
    pixels = N * h * w
    maps = pixels // 4 + 4 * (pixels // 16) + pixels // 64
    padded = 0 if (h, w) == (H, W) else 3 * pixels
    written = 3 * pixels * BYTES[dtype] + (padded + maps) * FLOAT
    operations = 9 * pixels + 5 * pixels // 4 + 17 * pixels // 16 + 4 * pixels // 64
    return Work(3 * N * H * W * FLOAT, written, operations)


def bias_act(shape: tuple[int, ...], dtype: str, backward: bool) -> Work:
    """Shape (B, C, H, W), with a skip connection of that size.

    Per element: two sums, a comparison and a product. Backward reads the gradient and the output;
    the gradients of both inputs are one, and the bias takes a sum more.
    """
    B, C, H, W = shape
    elements = B * C * H * W
    features, bias = elements * BYTES[dtype], C * FLOAT
    if not backward:
        return Work(2 * features + bias, features, 4 * elements)
    return Work(2 * features, features + bias, 3 * elements)


def group_norm(shape: tuple[int, ...], dtype: str, backward: bool) -> Work:
    """Shape (B, C, H, W, groups), with a skip connection and the bias of a convolution.

    The input is read twice, for statistics and for the output; so are, backward, the gradient, the
    input and the skip connection. Per element: 6 operations for the statistics, 7 for the output.
    Backward: 8 for the normalized input and the gradient before the activation, in each pass, 4 for
    sums and 5 for the gradient of the input.
    """
    B, C, H, W, groups = shape
    elements = B * C * H * W
    features, statistics = elements * BYTES[dtype], 2 * B * groups * FLOAT
    parameters = 3 * C * FLOAT
    if not backward:
        read, written = 3 * features + parameters, features + statistics
        return Work(read, written, 13 * elements, B * groups)
    read, written = 6 * features + parameters + statistics, 2 * features + parameters
    return Work(read, written, 25 * elements)


def add_layer_norm(shape: tuple[int, ...], dtype: str, backward: bool) -> Work:
    """Shape (N, C); with two summands, and a gradient of either output.

    Per value: the sum, 5 operations for mean and deviation, 2 for weight and bias; a root for each
    row. Backward: mean and deviation again, 3 for sums over rows, 9 for the gradient of the sum.
    """
    N, C = shape
    values, parameters = N * C * BYTES[dtype], C * FLOAT
    if not backward:
        return Work(2 * values + 2 * parameters, 2 * values, 8 * N * C, N)
    return Work(3 * values + parameters, values + 2 * parameters, 17 * N * C, N)


def change_map(shape: tuple[int, ...], dtype: str, backward: bool) -> Work:
    """Shape (B, H, W). Both images are read whole. There is no backward.

    Per pixel and channel: 2 operations for the difference, and 5 for five maxima and minima of a
    block of 2 x 2, less one a block. Per block: 20 a channel for those of nine blocks, 4 for the
    contrasts and 3 for the largest; then 5 and a logarithm.
    """
    B, H, W = shape
    pixels = B * H * W
    blocks = pixels // 4
    read, written = 2 * 3 * pixels * BYTES[dtype], blocks * FLOAT
    operations = 3 * (7 * pixels - 5 * blocks) + blocks * (3 * 27 + 5)
    return Work(read, written, operations, blocks)


def global_motion(shape: tuple[int, ...], dtype: str, backward: bool) -> Work:
    """Shape (B, C, H, W, radius). Gradients of everything but the time.

    Per pixel and displacement: 16 operations for coordinates and fractions, 7 for four corners, 9
    and an exponential for the softmax; 12 per pixel for the state and the motion. Backward: the
    same again, 10 for the gradient of a sample, 4 for two sums, 8 to add it to four corners.
    """
    B, C, H, W, radius = shape
    pixels, value, M = B * H * W, BYTES[dtype], (2 * radius + 1) ** 2
    features, volume = 2 * C * pixels * value, M * pixels * FLOAT
    out, state = (M + 2 * C + 3) * pixels * value, 6 * pixels * FLOAT
    small = (M + 1) * FLOAT
    if not backward:
        read = volume + features + small + B * FLOAT
        return Work(read, out + state, pixels * (12 + 32 * M), pixels * M)
    return Work(out + volume + small, volume + features + small, pixels * (12 + 54 * M), pixels * M)


def propagate(shape: tuple[int, ...], dtype: str, backward: bool) -> Work:
    """Shape (B, h, w) of the state; images have twice its resolution. The gradient is the result's.

    Per pixel and each of five fields: 19 operations for each of eight samples, 3 for each of four
    differences, 4 to double the flows, 1 and 26 for the means; then 22 for the weights, with five
    exponentials, and 36 for the flows. Backward: 40 for the flows; the weights are read.
    """
    B, h, w = shape
    pixels = B * h * w
    if backward:
        return Work((6 + 5) * pixels * FLOAT, 6 * pixels * FLOAT, 40 * pixels)
    read, written = 2 * 4 * pixels * BYTES[dtype] + 6 * pixels * FLOAT, 6 * pixels * FLOAT
    return Work(read, written, pixels * (5 * 195 + 58), 5 * pixels)


def convex_upsample(shape: tuple[int, ...], dtype: str, backward: bool) -> Work:
    """Shape (B, h, w), of the coarse state of six channels; four fine pixels in each.

    Per fine pixel: 36 operations for nine sums, maxima, differences and the sum of the softmax, 9
    exponentials and a division, 9 products; 18 per channel. Backward: the softmax again, 36 for its
    gradient, 9 for the prior's; 36 per channel.
    """
    B, h, w = shape
    fine = 4 * B * h * w
    state, logits, prior = 6 * B * h * w * FLOAT, 9 * fine * BYTES[dtype], 36 * FLOAT
    read, written = state + logits + prior, 6 * fine * FLOAT
    if not backward:
        return Work(read, written, (45 + 6 * 18) * fine, 10 * fine)
    return Work(read + written, read, (45 + 45 + 6 * 36) * fine, 10 * fine)


def flow_inputs(shape: tuple[int, ...], dtype: str, backward: bool) -> Work:
    """Shape (B, C, H, W, D), with missing motion. Both feature maps are read whole.

    Per pixel: 28 operations for coordinates, fractions and weights, 4 for the flows, 14 per channel
    for eight weighted corners. Backward, per channel: 16 for eight weighted gradients and 16 for
    the sums from which the gradients of the flows follow.
    """
    B, C, H, W, D = shape
    pixels, value = B * H * W, BYTES[dtype]
    features, maps = 2 * C * pixels * value, (D + 1 + 6) * pixels * FLOAT
    out = (2 * C + D + 10) * pixels * value
    if not backward:
        read = features + maps + 2 * pixels * FLOAT + B * FLOAT
        return Work(read, out, pixels * (32 + 14 * C))
    read = out + features + 6 * pixels * FLOAT
    return Work(read, features + maps, pixels * (40 + 32 * C))


def path_inputs(shape: tuple[int, ...], dtype: str, backward: bool) -> Work:
    """Shape (B, C, H, W, G): features, G gaps. Motions are read whole.

    Per pixel and gap: 4 operations for the place of the sample, 22 for fractions and weights and
    four weighted corners of two components, 6 for the next place; per component G (G + 3) / 2
    differences, a subtraction and a division each. Backward: the samples again, 24 for four slopes
    and their sums, and the differences transposed.
    """
    B, C, H, W, G = shape
    pixels, value = B * H * W, BYTES[dtype]
    read = pixels * (C * value + (4 + 2 * G) * FLOAT) + B * G * (FLOAT + 1)
    out, differences = pixels * (C + 2 + 2 * G) * value, 2 * G * pixels * FLOAT
    steps = pixels * G * (G + 3)
    if not backward:
        return Work(read, out + differences, pixels * 32 * G + steps, steps)
    read += out + differences - pixels * C * value
    written = pixels * (C * value + 6 * FLOAT)
    return Work(read, written, pixels * (32 + 24) * G + steps, steps)


def curve_flows(shape: tuple[int, ...], dtype: str, backward: bool) -> Work:
    """Shape (B, H, W, G), with a bias.

    Per pixel and order above 2: 7 operations for two products, 16 for their sums over a window by
    columns and rows, 4 for the trust. Per gap: a sigmoid, 2 for its weight, 4 for the offset; 8 for
    residual and flows. Backward: per gap 11 more.
    """
    B, H, W, G = shape
    pixels, C = B * H * W, 2 + G
    predicted, bias = pixels * C * BYTES[dtype], C * FLOAT
    state, differences = 6 * pixels * FLOAT, 2 * G * pixels * FLOAT
    read = predicted + bias + state + differences + B * (G * (FLOAT + 1) + FLOAT)
    operations = pixels * (27 * (G // 2 - 1) + 6 * G + 8)
    specials = pixels * (2 * G + G // 2 - 1)
    if not backward:
        return Work(read, state, operations, specials)
    written = predicted + bias + state + differences
    return Work(read, written, operations + pixels * 11 * G, specials)


def refine_inputs(shape: tuple[int, ...], dtype: str, backward: bool) -> Work:
    """Shape (B, H, W, stride), with missing motion, which has no gradient.

    Per pixel: 40 operations for four flow components upsampled, 28 for coordinates, fractions and
    weights of two warps, 15 per channel for eight weighted corners and a difference. The state's
    eight channels take 9 each a pixel of the result at stride 1, 4 at stride 4, and 4 together for
    the scale. Backward: the coordinates again, per channel 12 for the slopes of two samples and 8
    for sums, and 8 for each flow component gathered; of the state, 8 per pixel of the result.
    """
    B, H, W, stride = shape
    pixels = B * H * W
    places = pixels // stride**2
    # images, and eight channels at half resolution
    inputs = pixels * FLOAT * (6 + 2)
    result = places * (9 * stride**2 + 8) * BYTES[dtype]
    if not backward:
        resampling = 8 * {1: 9, 2: 0, 4: 4}[stride] + 4
        return Work(inputs, result, pixels * (40 + 28 + 45) + places * resampling)
    dstate = pixels * 6 * FLOAT // 4
    return Work(inputs + result, dstate, pixels * (40 + 28 + 60 + 32) + places * 8)


def refine_output(shape: tuple[int, ...], dtype: str, backward: bool) -> Work:
    """Shape (B, H, W, stride, R): 10 residuals, or 11 with a sharpness.

    Per pixel: 67 operations for seven channels upsampled, R biases, 10 residuals added, 8 for the
    gate, 28 for coordinates, fractions and weights, 10 for the blend, 15 per channel for eight
    weighted corners. Backward: all but the frame again, per channel 12 for the slopes of two
    samples, 12 for sums and 15 for the samples, 20 for the gate's gradient, R for the bias's, and
    8 for each of six channels gathered.

    With a sharpness: 14 for the cubic weights of each of four axes, and of each channel and
    reference 35 for 16 weighted pixels and 3 to mix. Backward: the weights again and 16 for each
    axis's slopes; of each reference 80 for the channels' sum, 77 for a sample and its slopes, 9 to
    mix; 4 for the sharpness.
    """
    B, H, W, stride, R = shape
    pixels, sharp = B * H * W, R > 10
    residual, bias = R * pixels * BYTES[dtype], R * stride**2 * FLOAT
    # images, and seven channels at half resolution
    inputs = residual + bias + pixels * 6 * FLOAT + pixels * 7 * FLOAT // 4
    frame, shared = pixels * 3 * FLOAT, 67 + R + 10 + 8 + 28 + 10 + 4 * 14 * sharp
    if not backward:
        operations = shared + 45 + 6 * (35 + 3) * sharp
        return Work(inputs, frame, pixels * operations, pixels * 8)
    written = residual + bias + pixels * 6 * FLOAT // 4 + FLOAT
    operations = shared + 117 + 20 + R + 48 + (4 * 16 + 2 * (80 + 77 + 9) + 4) * sharp
    return Work(inputs + frame, written, pixels * operations, pixels * 10)


def census(shape: tuple[int, ...], dtype: str, backward: bool) -> Work:
    """Shape (B, H, W), two images of three channels, one of which needs a gradient.

    Per image and pixel 5 operations for luma. Per pair of pixels, 24 for each pixel: 2 differences,
    2 squares and 2 sums, 2 digits, their difference, its square, a sum and the distance; 2 roots
    and a division. Backward: 7 more for the slope and 2 for its sums; per pixel 3 for the channels.
    """
    B, H, W = shape
    pixels = B * H * W
    image = 3 * pixels * BYTES[dtype]
    if not backward:
        return Work(2 * image, FLOAT, pixels * (10 + 24 * 12), pixels * 24 * 3)
    return Work(2 * image + FLOAT, image, pixels * (13 + 24 * 21), pixels * 24 * 3)


def adjacent_frames(shape: tuple[int, ...], dtype: str, backward: bool) -> Work:
    """Shape (B, T), six gaps. There is no backward.

    Per frame and gap 4 operations: a difference, two comparisons and a maximum.
    """
    B, T = shape
    return Work(B * T * (FLOAT + 1 + 8), B * 6 * (2 * 8 + FLOAT + 1), B * T * 6 * 4)


def time_mlp(shape: tuple[int, ...], dtype: str, backward: bool) -> Work:
    """Shape (B, Tq, Tk, N, C): N hidden units, C outputs.

    Per pair of times a difference, 4 operations for the other features, two exponential functions
    or logarithms and a division; for each hidden unit 12 for the first layer, 5 for the GELU and
    the error function, and 2 for each output. Backward: the hidden units again, 4 for the slope,
    12 for the first layer and 4 for each output.
    """
    B, Tq, Tk, N, C = shape
    pairs, first, second = B * Tq * Tk, 7 * N, (N + 1) * C
    times, out = B * (Tq + Tk) * FLOAT, pairs * C * BYTES[dtype]
    parameters = (first + second) * FLOAT
    if not backward:
        operations = pairs * (5 + N * (17 + 2 * C))
        return Work(times + parameters, out, operations, pairs * (3 + N))
    read = times + out + parameters - C * FLOAT  # not the second bias
    operations = pairs * (5 + C + N * (17 + 4 + 13 + 4 * C))
    return Work(read, parameters, operations, pairs * (3 + 2 * N))
