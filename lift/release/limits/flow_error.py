"""Synthetic scenes with exact flow: errors of the flow, and what they cost in the frame.

Flow is compared at a quarter of the resolution, where the model states it: true flow and DIS flow
are averaged over blocks of 4 x 4 pixels. A block that the edge of a motion crosses has no one flow
and is counted apart, and so is one whose points are hidden in both references. An error is the
end-point error in pixels of the frame, the mean over the references in which the block is visible.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import torch

from lift.data.synthetic import SyntheticScene
from lift.evaluation import baselines
from lift.evaluation.metrics import psnr, to_uint8
from lift.evaluation.protocols.real16 import as_clip

SIZE = (256, 256)  # (H, W), pixels
SEED = 20
TIMES = tuple(float(t) for t in range(-7, 8))  # fifteen frames, the references at 0 and 1
LEFT, TARGET = TIMES.index(0.0), 0.5
BLOCK = 4
EDGE = 1.0  # pixels: a block whose true flow varies by more holds the edge of a motion
MOTION_BINS = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, np.inf)  # length of flow, pixels
ERROR_BINS = (0.0, 0.125, 0.25, 0.5, 1.0, 2.0, np.inf)  # end-point error, pixels
EDGES, HIDDEN = "edge of a motion", "hidden in both references"
FLOWS = ("lift", "dis")
FRAMES = ("lift", "lift_flow", "dis", "true_bilinear", "true_bicubic")


@dataclass(frozen=True)
class SceneScores:
    """One scene.

    Attributes:
        motion: (h, w), length of the true flow, the mean of both, pixels.
        errors: by name of FLOWS, (h, w) end-point error, pixels.
        valid: (h, w) bool, neither an edge of a motion nor hidden in both references.
        hidden: (h, w) bool, no edge, and hidden in both references.
        squared: by name of FRAMES, (h, w), mean squared error of the frame in the block, levels².
        psnr: by name of FRAMES, dB.
    """

    motion: np.ndarray
    errors: dict[str, np.ndarray]
    valid: np.ndarray
    hidden: np.ndarray
    squared: dict[str, np.ndarray]
    psnr: dict[str, float]


def measure(model: torch.nn.Module, count: int, progress=iter) -> dict:
    """Errors on `count` scenes, the same ones in every run, JSON-able.

    Returns:
        {"scenes", "psnr": {frame: mean dB}, "by_motion": rows, "by_error": rows}; for the rows see
        `tables`.
    """
    model.eval()
    scenes = [measure_scene(model, number) for number in progress(range(count))]
    return {
        "scenes": count,
        "size": list(SIZE),
        "psnr": {name: float(np.mean([s.psnr[name] for s in scenes])) for name in FRAMES},
        **tables(scenes),
    }


@torch.inference_mode()
def measure_scene(model: torch.nn.Module, number: int) -> SceneScores:
    """The errors of one scene, drawn by its number."""
    scene = SyntheticScene(np.random.default_rng((SEED, number)), SIZE)
    frames, truth = scene.render(TIMES), scene.render([TARGET])[0]
    flow = scene.flow(TARGET)
    visible = scene.visible(TARGET, flow)
    frame0, frame1 = frames[LEFT : LEFT + 2]

    device = next(model.parameters()).device
    prediction = model(
        as_clip(frames, list(TIMES), LEFT, device), torch.tensor([TARGET], device=device)
    )
    state = prediction.state.float().cpu()
    motion = baselines.dis_flow(frame0, frame1).transpose(2, 0, 1)
    dis = np.concatenate((-TARGET * motion, (1 - TARGET) * motion))

    generated = {
        "lift": to_uint8(prediction.frame[0]),
        "lift_flow": _of_state(frame0, frame1, state),
        "dis": baselines.dis(frame0, frame1, TARGET),
        "true_bilinear": warped(frame0, frame1, flow, visible, cv2.INTER_LINEAR),
        "true_bicubic": warped(frame0, frame1, flow, visible, cv2.INTER_CUBIC),
    }
    squared = {
        name: _blocks((frame.astype(np.float32) - truth).transpose(2, 0, 1) ** 2).mean((0, 2, 4))
        for name, frame in generated.items()
    }
    true = _blocks(flow).mean((2, 4))
    seen = _blocks(visible).min((2, 4))  # (2, h, w): all of the block is visible
    uniform = (np.ptp(_blocks(flow), axis=(2, 4)) <= EDGE).all(0)
    is_visible = seen.any(0)
    estimates = {"lift": BLOCK * state[0, :4].numpy(), "dis": _blocks(dis).mean((2, 4))}
    return SceneScores(
        motion=_lengths(true).mean(0),
        errors={name: _error(each - true, seen) for name, each in estimates.items()},
        valid=uniform & is_visible,
        hidden=uniform & ~is_visible,
        squared=squared,
        psnr={name: psnr(frame, truth) for name, frame in generated.items()},
    )


def warped(
    frame0: np.ndarray,
    frame1: np.ndarray,
    flow: np.ndarray,
    visible: np.ndarray,
    interpolation: int,
) -> np.ndarray:
    """The references warped along given flow and blended where they are visible.

    Args:
        frame0, frame1: (H, W, 3) uint8.
        flow: (4, H, W), pixels, from the target to the left, then to the right reference.
        visible: (2, H, W), weight of each; a point with no weight is the mean of both.
        interpolation: OpenCV's flag.

    Returns:
        (H, W, 3) uint8.
    """
    y, x = np.mgrid[: flow.shape[1], : flow.shape[2]].astype(np.float32)
    images = [
        cv2.remap(
            frame.astype(np.float32),
            x + flow[2 * i],
            y + flow[2 * i + 1],
            interpolation,
            borderMode=cv2.BORDER_REPLICATE,
        )
        for i, frame in enumerate((frame0, frame1))
    ]
    weights = visible + 1e-6
    first = (weights[0] / weights.sum(0))[..., None]
    return baselines.round_half_up(first * images[0] + (1 - first) * images[1])


def _of_state(frame0: np.ndarray, frame1: np.ndarray, state: torch.Tensor) -> np.ndarray:
    """The references warped along the model's flow at 1/4, blended by its visibilities."""
    full = torch.nn.functional.interpolate(state, SIZE, mode="bilinear", align_corners=False)[0]
    flow, visible = BLOCK * full[:4].numpy(), full[4:].sigmoid().numpy()
    return warped(frame0, frame1, flow, visible, cv2.INTER_LINEAR)


def _blocks(x: np.ndarray) -> np.ndarray:
    """(C, H, W) as blocks, (C, h, BLOCK, w, BLOCK)."""
    C, H, W = x.shape
    return x.reshape(C, H // BLOCK, BLOCK, W // BLOCK, BLOCK)


def _lengths(flow: np.ndarray) -> np.ndarray:
    """(4, h, w) to the lengths of both vectors, (2, h, w)."""
    return np.hypot(flow[::2], flow[1::2])


def _error(difference: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """End-point error (h, w) of the flows to those references in which a block is visible."""
    weights = np.where(seen.any(0), seen, 1.0)
    return (weights * _lengths(difference)).sum(0) / weights.sum(0)


# -- tables ----------------------------------------------------------------------------------------


def tables(scenes: list[SceneScores]) -> dict[str, list[dict]]:
    """Rows by size of the motion and by LIFT's error of the flow; bins without blocks are left out.

    Every row has "share" of all blocks, "error" (mean end-point error by name of FLOWS, pixels;
    None where no flow is defined), "psnr" (dB over the row's blocks by name of FRAMES), and
    "share_of_squared_error" of LIFT's frame.
    """
    joined = {
        name: np.concatenate([getattr(scene, name).ravel() for scene in scenes])
        for name in ("motion", "valid", "hidden")
    }
    errors, squared = (
        {
            name: np.concatenate([getattr(scene, field)[name].ravel() for scene in scenes])
            for name in names
        }
        for field, names in (("errors", FLOWS), ("squared", FRAMES))
    )
    valid, hidden = joined["valid"], joined["hidden"]

    def row(label: str, chosen: np.ndarray, has_flow: bool = True) -> dict:
        return {
            "bin": label,
            "share": float(chosen.mean()),
            "error": {n: float(errors[n][chosen].mean()) for n in FLOWS} if has_flow else None,
            "psnr": {n: _psnr(squared[n][chosen].mean()) for n in FRAMES},
            "share_of_squared_error": float(
                squared["lift"][chosen].sum() / squared["lift"].sum().clip(1e-9)
            ),
        }

    def rows(values: np.ndarray, bins: tuple[float, ...]) -> list[dict]:
        found = []
        for low, high in zip(bins, bins[1:], strict=False):
            chosen = valid & (values >= low) & (values < high)
            if chosen.any():
                found.append(row(_label(low, high), chosen))
        for label, chosen in ((EDGES, ~valid & ~hidden), (HIDDEN, hidden)):
            if chosen.any():
                found.append(row(label, chosen, has_flow=False))
        return found

    return {
        "by_motion": rows(joined["motion"], MOTION_BINS),
        "by_error": rows(errors["lift"], ERROR_BINS),
    }


def _label(low: float, high: float) -> str:
    return f"{low:g} or more" if np.isinf(high) else f"{low:g} to {high:g}"


def _psnr(squared: float) -> float:
    return float(10 * np.log10(255**2 / max(float(squared), 0.01)))
