"""A training step on synthetic motion, for the profile and the comparison of losses.

The clips show a texture in uniform motion, so the true flow is known. Needs no video files and no
decoders.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F

from lift.config import Config
from lift.data.clip import Batch, Clip, frames_around
from lift.model.lift import LIFT
from lift.training.losses import total_loss

FASTEST = 0.05  # of the width, per frame


def batch(B: int, T: int, H: int, W: int, seed: int, device: torch.device | str = "cpu") -> Batch:
    """B clips of T frames, the references in their middle, of textures in uniform motion.

    The values are the same on every device.
    """
    generator = torch.Generator().manual_seed(seed)

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    coarse, fine = noise(B, 3, 9, 9), noise(B, 3, 33, 33)
    texture = sum(
        weight * F.interpolate(x, (2 * H, 2 * W), mode="bicubic")
        for weight, x in ((0.2, coarse), (0.1, fine))
    )
    texture = (0.5 + texture).clamp(0, 1)
    # (B, 2): dx, dy in pixels per unit of time
    velocity = FASTEST * W * (2 * torch.rand(B, 2, generator=generator) - 1)
    times = (torch.arange(T) - frames_around(T)[0] + 1).float().expand(B, T)
    t = 0.1 + 0.8 * torch.rand(B, generator=generator)
    y, x = torch.meshgrid(torch.arange(H).float(), torch.arange(W).float(), indexing="ij")
    place = torch.stack((x, y), -1)  # (H, W, 2)

    def frame(time: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W); one time per clip."""
        at = (
            place + torch.tensor([W / 2, H / 2]) - (velocity * (time - 0.5)[:, None])[:, None, None]
        )
        return F.grid_sample(
            texture,
            2 * at / torch.tensor([2 * W - 1, 2 * H - 1]) - 1,
            padding_mode="reflection",
            align_corners=True,
        )

    frames = torch.stack([frame(times[:, i]) for i in range(T)], 1)
    flow = torch.cat((-velocity * t[:, None], velocity * (1 - t)[:, None]), 1)[
        :, :, None, None
    ].expand(B, 4, H, W)
    limit = torch.tensor([W - 1, H - 1]).view(1, 2, 1, 1)
    seen = [
        ((place.movedim(-1, 0) + part >= 0) & (place.movedim(-1, 0) + part <= limit)).all(1)
        for part in flow.split(2, 1)
    ]
    return Batch(
        Clip.evenly_spaced(frames),
        t,
        frame(t),
        flow.contiguous(),
        torch.stack(seen, 1).float(),
        torch.ones(B, dtype=torch.bool),
    ).to(device)


class Training:
    """A model and its optimizer, trained on such batches.

    Args:
        config: its model, kernels and losses are used.
        device: of the model.
        autocast: dtype of autocast, or None.
    """

    def __init__(
        self, config: Config, device: torch.device | str, autocast: torch.dtype | None = None
    ):
        torch.manual_seed(config.train.seed)
        self.config, self.device, self.autocast = config, torch.device(device), autocast
        self.model = LIFT(config.model, config.kernels)
        self.model.freeze_epochs = 0
        self.model.set_epoch(0)
        if config.train.channels_last:
            self.model = self.model.to(memory_format=torch.channels_last)
        self.model = self.model.to(self.device).train()
        # As in `lift train`; `capturable` on a GPU, for `capture`.
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(),
            lr=config.train.lr,
            weight_decay=config.train.weight_decay,
            fused=True,
            capturable=self.device.type == "cuda",
        )

    def loss(self, batch: Batch) -> torch.Tensor:
        with torch.autocast(
            self.device.type, dtype=self.autocast, enabled=self.autocast is not None
        ):
            prediction = self.model(batch.clip, batch.t)
        return total_loss(prediction, batch, self.config.train)[0]

    def step(self, batch: Batch) -> torch.Tensor:
        """Forward, backward and update; the loss, detached."""
        loss = self.loss(batch)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.train.clip_grad)
        self.optimizer.step()
        return loss.detach()


# -- a step as a CUDA graph ----------------------------------------------------------------------


def capture(
    step: Callable[[], torch.Tensor], warm_up: int = 3
) -> tuple[torch.cuda.CUDAGraph, torch.Tensor]:
    """Capture a step as a CUDA graph with its own memory pool.

    Args:
        step: forward, loss and backward, with or without an update. It must set gradients to None
            before backward, read its batch in place, use a `capturable` optimizer, and neither copy
            between host and GPU nor synchronize.
        warm_up: calls before the capture. They take effect: kernels are compiled and loaded, and
            the optimizer state is allocated. They run on the capturing stream, so that memory that
            libraries allocate once per stream (cuBLAS's workspace) is not in the pool of the graph,
            which it would outlive.

    Returns:
        The graph, and what `step` returned, one tensor or several. Capturing computes nothing: the
        result and the gradients are valid after a replay, and each replay overwrites them. Clipped
        gradients are clipped after a replay too: compare them with clipped gradients, or divide
        them by the factor of `clip_grad_norm_`, known from the norm that it returned.

    Raises:
        RuntimeError: the step does something that CUDA does not allow in a capture. The current
            stream is restored, but PyTorch's allocator may not be: capture last, or in a process of
            its own.
    """
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):  # left also if the capture fails
        for _ in range(warm_up):
            step()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream):  # no `pool`: its own
            result = step()
    torch.cuda.current_stream().wait_stream(stream)
    return graph, result
