"""Choose the real targets of protocol `long_context`.

    python -m lift.evaluation.protocols.long_context_select --data_root CLIPS

An oracle that sees the target decides. DIS flow, chained from gap to gap along the trajectory of
`dis_cubic`, brings every input frame to the target's time. The candidates at a pixel are the blend
of the references, the blend along a path through six frames, and each warped frame; the candidate
with the least squared error, averaged over a window, is taken. A target's gain is the PSNR of that
choice among what fifteen frames give, less the same among what four frames give. Of each split
the tenth with the largest gains is kept, at least LEAST targets and at most PER_CLIP of a clip.

The list is part of the package, so that scoring needs neither DIS nor this module.
"""

import json
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from lift.config.flags import Parser
from lift.errors import LiftError
from lift.evaluation.baselines import OFFSET_SIGMA, dis_flow, warp
from lift.evaluation.protocols import real16
from lift.evaluation.protocols.long_context import TARGETS_FILE
from lift.files import atomic
from lift.io.manifest import ManifestClip, read_manifest

FRAMES = 15
LEFT = 7  # position of the left reference among them
STEP = {"val": 4, "train": 60}  # frames between two targets that are tried
CLIPS = {"val": None, "train": 39}  # the first ones of the manifest; None: all
SHARE, LEAST, PER_CLIP = 0.1, {"val": 60, "train": 30}, 6  # of those tried; of a split; of a clip
WINDOW = 15  # pixels over which the error of a candidate is averaged

# the value half way between the two middle ones of six equally spaced positions
SIX_POINTS = np.array([3, -25, 150, 150, -25, 3], np.float32) / 256


# -- candidates of a target ------------------------------------------------------------------------


def oracle_gain(frames: list[np.ndarray], gaps: list[np.ndarray], target: np.ndarray) -> float:
    """What fifteen frames give an oracle beyond what four give, dB.

    Args:
        frames: fifteen (H, W, 3) uint8 RGB, the left reference at LEFT.
        gaps: the motion (H, W, 2) from each frame to the next, as `dis_flow` gives it.
        target: (H, W, 3) uint8.
    """
    four, fifteen = [], []
    for needed, candidate, valid in candidates(frames, gaps):
        error = ((candidate - target) ** 2).mean(-1)
        smooth = np.where(valid, cv2.blur(error, (WINDOW, WINDOW)), np.inf)
        fifteen.append((smooth, error))
        if needed <= 4:
            four.append((smooth, error))
    return 10 * np.log10(_least_error(four) / _least_error(fifteen))


def _least_error(candidates: list[tuple[np.ndarray, np.ndarray]]) -> float:
    smooth, error = (np.stack(part) for part in zip(*candidates, strict=True))
    chosen = np.take_along_axis(error, smooth.argmin(0)[None], 0)
    return max(float(chosen.mean()), 0.01)


def candidates(
    frames: list[np.ndarray], gaps: list[np.ndarray]
) -> list[tuple[int, np.ndarray, np.ndarray]]:
    """What could be the target: (input frames that it needs, (H, W, 3) float32, valid (H, W))."""
    motion = gaps[LEFT]
    flows = follow(gaps, -motion / 2, motion / 2)
    everywhere = np.ones(motion.shape[:2], bool)

    def offset(weights: np.ndarray) -> np.ndarray:
        """Of a path through the frames in the middle from the straight one, at the target."""
        first = LEFT + 1 - len(weights) // 2
        path = sum(w * flow for w, flow in zip(weights, flows[first:], strict=False))
        return cv2.GaussianBlur(path, (0, 0), OFFSET_SIGMA)

    def blend(deviation: np.ndarray) -> np.ndarray:
        warped = [warp(frames[LEFT + side], flows[LEFT + side] - deviation) for side in (0, 1)]
        return sum(warped) / 2

    cubic, six = offset(FOUR_POINTS), offset(SIX_POINTS)
    found = [(4, blend(cubic), everywhere), (6, blend(six), everywhere)]
    curved = follow(gaps, -motion / 2 - cubic, motion / 2 - cubic)
    for k, (frame, flow) in enumerate(zip(frames, curved, strict=True)):
        needed = 2 * max(LEFT + 1 - k, k - LEFT)
        found.append((needed, warp(frame, flow), inside(flow)))
    return found


FOUR_POINTS = np.array([-1, 9, 9, -1], np.float32) / 16


def follow(gaps: list[np.ndarray], to_left: np.ndarray, to_right: np.ndarray) -> list[np.ndarray]:
    """Flow from the target to every frame, along the gaps beyond the references.

    Args:
        gaps: the motion (H, W, 2) from each frame to the next.
        to_left, to_right: flow (H, W, 2) from the target to the references.
    """
    flows = [to_left, to_right]
    for gap in reversed(gaps[:LEFT]):
        # a gap's motion is as seen half way through it, which takes a second look-up to reach
        middle = flows[0] - warp(gap, flows[0]) / 2
        flows.insert(0, flows[0] - warp(gap, middle))
    for gap in gaps[LEFT + 1 :]:
        middle = flows[-1] + warp(gap, flows[-1]) / 2
        flows.append(flows[-1] + warp(gap, middle))
    return flows


def inside(flow: np.ndarray) -> np.ndarray:
    """Where the flow (H, W, 2) stays inside the frame, (H, W) bool."""
    height, width = flow.shape[:2]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    x, y = x + flow[..., 0], y + flow[..., 1]
    return (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)


# -- targets of a split ----------------------------------------------------------------------------


def possible_targets(clip: ManifestClip, step: int) -> list[int]:
    """Every `step`-th frame with fifteen input frames in its shot, the near ones not repeated."""
    possible = []
    for k in range(2 * LEFT + 1, clip.frames - (2 * (FRAMES - LEFT) - 3), step):
        indices = real16.context_indices(k, clip.frames, clip.cuts, FRAMES)[0]
        near = range(k - 1, k + 3)
        if len(indices) == FRAMES and not set(near) & {*clip.duplicates, *clip.cuts}:
            possible.append(k)
    return possible


def clip_gains(
    clip: ManifestClip, step: int, read: Callable = real16.read_frames
) -> dict[int, float]:
    """The oracle's gain of every target that is tried, {k: dB}.

    Args:
        clip: with its number of frames.
        step: frames between two targets.
        read: (clip, targets, context_frames) -> {k: frame}.
    """
    targets = possible_targets(clip, step)
    if not targets:
        return {}
    frames = read(clip, targets, FRAMES)
    gaps: dict[int, np.ndarray] = {}
    gains = {}
    for k in targets:
        indices = real16.context_indices(k, clip.frames, clip.cuts, FRAMES)[0]
        for i in indices[:-1]:
            if i not in gaps:  # neighbouring targets share most of them
                gaps[i] = dis_flow(frames[i], frames[i + 2])
        for i in [i for i in gaps if i < indices[0]]:
            del gaps[i]
        inputs = [frames[i] for i in indices]
        gains[k] = oracle_gain(inputs, [gaps[i] for i in indices[:-1]], frames[k])
    return gains


def choose(gains: dict[str, dict[int, float]], least: int) -> list[dict]:
    """The targets of a split with the largest gains, as the list in the package has them.

    Args:
        gains: {clip: {target: dB}} of every target that was tried.
        least: number of targets to keep where a tenth is fewer.
    """
    tried = [(gain, name, k) for name, each in gains.items() for k, gain in each.items()]
    count = max(least, round(SHARE * len(tried)))
    chosen, of_clip = [], Counter()
    for gain, name, k in sorted(tried, reverse=True):
        if len(chosen) < count and of_clip[name] < PER_CLIP:
            chosen.append({"clip": name, "target": k, "oracle_gain_db": round(float(gain), 2)})
            of_clip[name] += 1
    return sorted(chosen, key=lambda entry: (entry["clip"], entry["target"]))


def main(argv: list[str]) -> None:
    """Try the targets of both splits and write the list."""
    parser = Parser(prog="long_context_select", description=__doc__.split("\n\n")[0])
    parser.add_argument("--data_root", required=True, metavar="DIR", help="folder with the clips")
    parser.add_argument("--output", default=str(TARGETS_FILE), metavar="FILE", help="the list")
    args = parser.parse_args(argv)
    clips = [real16.with_frame_count(clip) for clip in read_manifest(args.data_root)]
    result = {}
    for split, step in STEP.items():
        members = real16.select_clips(clips, split)[: CLIPS[split]]
        bar = tqdm(members, unit="clip", disable=None)
        gains = {clip.name: clip_gains(clip, step) for clip in bar}
        tried = sum(map(len, gains.values()))
        result[split] = {"tried": tried, "targets": choose(gains, LEAST[split])}
        print(f"{split}: {len(result[split]['targets'])} of {tried} targets", flush=True)
    with atomic(Path(args.output)) as part:
        part.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except LiftError as error:
        sys.exit(str(error))
