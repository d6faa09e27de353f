"""What a model reads of a frame: padded, normalized, and small: the definition.

Frames are padded at the right and at the bottom by their nearest pixels. Means over 2 x 2 pixels,
again over 2 x 2 of these and so on are those of a pyramid; luma is that of Rec. 601.
"""

import torch
import torch.nn.functional as F

LUMA = (0.299, 0.587, 0.114)  # weights of R, G and B


def frame_inputs_reference(
    frames: torch.Tensor, multiple: int, dtype: torch.dtype
) -> tuple[torch.Tensor, ...]:
    """Inputs of an encoder, the padded frames, and their pyramid.

    Args:
        frames: (N, 3, H, W), in [0, 1].
        multiple: what the sides are padded to, a multiple of 8.
        dtype: of the encoder's input.

    Returns:
        As `frame_inputs`, but for the padded frames: (0,) where nothing is padded.
    """
    padded = pad(frames, multiple)
    half = F.avg_pool2d(padded, 2)
    quarter = F.avg_pool2d(half, 2)
    luma4 = luma(quarter)
    return (
        normalize(padded).to(dtype),
        frames.new_empty((0,)) if padded is frames else padded,
        luma(half),
        quarter,
        luma4,
        F.avg_pool2d(luma4, 2),
    )


def pad(frames: torch.Tensor, multiple: int) -> torch.Tensor:
    """Replicate the right and bottom edge of (N, C, H, W) up to a multiple, where it is needed."""
    bottom, right = (
        side - size
        for side, size in zip(padded_size(frames, multiple), frames.shape[-2:], strict=True)
    )
    # A program that `torch.export` makes pads always: it may get frames of any size.
    if not (torch.compiler.is_exporting() or right or bottom):
        return frames
    return F.pad(frames, (0, right, 0, bottom), mode="replicate")


def padded_size(frames: torch.Tensor, multiple: int) -> tuple[int, int]:
    """Height and width of frames (N, C, H, W), padded."""
    return tuple((size + multiple - 1) // multiple * multiple for size in frames.shape[-2:])


def normalize(frames: torch.Tensor) -> torch.Tensor:
    """Frames in [0, 1] at about zero mean and, if they are natural images, unit variance."""
    return (frames - 0.5) * 4


def luma(image: torch.Tensor) -> torch.Tensor:
    """Luma of an RGB image, (B, 3, H, W) -> (B, 1, H, W)."""
    r, g, b = image.unbind(1)
    return (LUMA[0] * r + LUMA[1] * g + LUMA[2] * b).unsqueeze(1)


def empty_outputs(
    frames: torch.Tensor, multiple: int, dtype: torch.dtype, always_padded: bool = False
) -> tuple[torch.Tensor, ...]:
    """The uninitialised outputs of a fused backend: as the reference's, the first channels-last.

    Args:
        frames, multiple, dtype: as in `frame_inputs_reference`.
        always_padded: whether there are padded frames even where nothing is padded.
    """
    h, w = padded_size(frames, multiple)

    def planes(channels: int, scale: int) -> torch.Tensor:
        return frames.new_empty((frames.shape[0], channels, h // scale, w // scale))

    stem = frames.new_empty((frames.shape[0], h, w, 3), dtype=dtype).permute(0, 3, 1, 2)
    nothing = not always_padded and (h, w) == tuple(frames.shape[-2:])
    padded = frames.new_empty((0,)) if nothing else planes(3, 1)
    return stem, padded, planes(1, 2), planes(3, 4), planes(1, 4), planes(1, 8)
