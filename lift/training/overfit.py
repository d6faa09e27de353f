"""`python -m lift.training.overfit`: overfit a single batch (sanity check).

A model and a training step that work exceed 40 dB.
"""

import sys
import time
from dataclasses import replace

import torch

from lift import kernels
from lift.config import Config, DataConfig, TrainConfig, add_flags, resolve, tiny
from lift.config.flags import Parser
from lift.data.dataset import ClipDataset
from lift.data.sample import collate
from lift.devices import choose_device
from lift.errors import run
from lift.model.lift import LIFT
from lift.training.losses import batch_psnr, total_loss
from lift.training.optim import learning_rate

PASS = 40.0  # dB
# Defaults of the flags: one small batch, all its context, a rate for a few hundred steps.
BASE = Config(
    tiny(),
    DataConfig(data_source="synthetic", crop_height=96, crop_width=96, full_context_prob=1.0),
    TrainConfig(batch_size=2, lr=2e-3, lr_min=1e-4, warmup_steps=20, weight_decay=0.0),
)


def main(argv: list[str]) -> int:
    """Overfit, printing the PSNR; 0 if it exceeds 40 dB, else 1."""
    parser = Parser(prog="python -m lift.training.overfit", description=__doc__)
    parser.add_argument(
        "--steps", type=int, default=2000, help="steps after which to give up (default 2000)"
    )
    add_flags(parser)
    namespace = parser.parse_args(argv)
    config = resolve(namespace, BASE)
    if config.data.data_root and not hasattr(namespace, "data.data_source"):
        config = replace(config, data=replace(config.data, data_source="folder"))
    with kernels.use(config.kernels):
        reached = overfit(config, namespace.steps)
    return 0 if reached > PASS else 1


def overfit(config: Config, steps: int) -> float:
    """Train on the first batch of the data only.

    Returns:
        The PSNR of that batch, dB: of the first step above 40 dB, or of the last one.
    """
    settings = config.train
    device = choose_device(settings.device)
    torch.manual_seed(settings.seed)
    data = ClipDataset(
        config.data,
        config.data.train_split,
        batch_size=settings.batch_size,
        seed=settings.seed,
        train=True,
    )
    batch = collate([data[g] for g in range(settings.batch_size)]).to(device)
    model = LIFT(config.model, config.kernels).to(device)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=settings.lr, weight_decay=settings.weight_decay
    )
    started = time.monotonic()
    reached = 0.0
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(
                step, steps, settings.warmup_steps, settings.lr, settings.lr_min
            )
        prediction = model(batch.clip, batch.t)
        reached = batch_psnr(prediction.frame.detach(), batch.target).mean().item()
        if step % 50 == 0 or reached > PASS:
            print(
                f"step {step:5d}  {reached:6.2f} dB  {time.monotonic() - started:6.1f} s",
                flush=True,
            )
        if reached > PASS:
            break
        loss, _ = total_loss(prediction, batch, settings)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip_grad)
        optimizer.step()
    verdict = "passed" if reached > PASS else f"FAILED: below {PASS:g} dB after {steps} steps"
    print(f"overfit one batch to {reached:.2f} dB: {verdict}")
    return reached


if __name__ == "__main__":
    sys.exit(run(main))
