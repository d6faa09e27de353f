"""What `benchmarks.trees` times in a checkout, whatever its age: `python tree_work.py WORK ...`.

It prints a list of seconds as JSON. Only `lift` is imported, that of the checkout.
"""

import argparse
import json
import time
from collections.abc import Iterator
from itertools import islice, pairwise

import torch
import torch.nn.functional as F

MULTI = 2
CONTEXT = 15


def moving_frames(height: int, width: int, count: int) -> list[torch.Tensor]:
    """Crops (3, H, W) of a texture that moves by 4 and 3 pixels a frame."""
    generator = torch.Generator().manual_seed(0)
    margin = 4 * count // 8 + 1
    coarse = torch.rand(1, 3, height // 8 + margin, width // 8 + margin, generator=generator)
    texture = F.interpolate(coarse, scale_factor=8, mode="bilinear")[0]
    return [
        texture[:, 3 * k : 3 * k + height, 4 * k : 4 * k + width].contiguous() for k in range(count)
    ]


def _tiny():
    from lift import create_lift_model

    return create_lift_model("tiny", pretrained=True)


def _interpolator(dtype: str):
    """As `lift interpolate --dtype` runs it."""
    from lift import Interpolator
    from lift.video.malloc import keep_freed_memory

    keep_freed_memory()
    return Interpolator(_tiny(), context_frames=CONTEXT, dtype=getattr(torch, dtype))


def stream(height: int, width: int, count: int, dtype: str = "float32") -> list[float]:
    """Seconds between generated frames of a stream that goes on: with a full context, and for each
    one a new frame of the source to encode."""
    frames = moving_frames(height, width, CONTEXT + count + CONTEXT)
    video = _interpolator(dtype)
    outputs = islice(video.frames(iter(frames), multi=MULTI), 0, (CONTEXT + count) * MULTI, MULTI)
    stamps = [time.perf_counter() for _ in outputs]
    return [after - before for before, after in pairwise(stamps)][-count:]


def file(dtype: str, path: str, out: str) -> list[float]:
    """Seconds from a video file to one of twice the rate."""
    video = _interpolator(dtype)
    start = time.perf_counter()
    video.video(path, out, multi=MULTI, overwrite=True)
    return [time.perf_counter() - start]


def step(side: int, batch: int, count: int) -> list[float]:
    """Seconds of forward, losses and backward of `tiny` in float32."""
    from lift.config import Config, DataConfig, TrainConfig, tiny
    from lift.profiling import memory
    from lift.training.losses import total_loss
    from lift.training.state import build_model

    data = DataConfig(crop_height=side, crop_width=side)
    config = Config(tiny(), data, TrainConfig(batch_size=batch))
    torch.manual_seed(0)
    model, clips = build_model(config), memory.empty_batch(config)
    model.set_epoch(99)  # of which the encoder learns too
    for images in (clips.clip.frames, clips.target):
        images.copy_(torch.rand_like(images))

    def seconds() -> Iterator[float]:
        for _ in range(count + 2):
            start = time.perf_counter()
            loss = total_loss(model(clips.clip, clips.t), clips, config.train)[0]
            model.zero_grad()
            loss.backward()
            yield time.perf_counter() - start

    return list(seconds())[2:]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("work", choices=("stream", "file", "step"))
    parser.add_argument("arguments", nargs="+")
    parser.add_argument("--threads", type=int, required=True)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    work = {"stream": stream, "file": file, "step": step}[given.work]
    print(json.dumps(work(*(int(x) if x.isdigit() else x for x in given.arguments))))


if __name__ == "__main__":
    main()
