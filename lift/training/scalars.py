"""Scalars of a training step: their way from the device to the log, and their means."""

import torch


class RunningMeans:
    """Means of named scalars since the last log entry.

    They are part of a checkpoint, so that a resumed run writes the same entries.
    """

    def __init__(self, sums: dict[str, list[float]] | None = None):
        self.sums = {name: list(pair) for name, pair in (sums or {}).items()}

    def add(self, scalars: dict[str, float]) -> None:
        for name, value in scalars.items():
            pair = self.sums.setdefault(name, [0.0, 0.0])
            pair[0] += value
            pair[1] += 1

    def take(self) -> dict[str, float]:
        """The means so far; they restart from nothing."""
        means = {name: total / count for name, (total, count) in self.sums.items()}
        self.sums = {}
        return means


def weights_by_offset(
    attention: torch.Tensor, times: torch.Tensor, mask: torch.Tensor
) -> dict[int, list[float]]:
    """Attention weights of the frames at each time offset.

    Args:
        attention, times, mask: (B, T), on the host; times are rounded to whole gaps between the
            references.
    """
    weights: dict[int, list[float]] = {}
    lists = (x.flatten().tolist() for x in (times.round().long(), attention, mask))
    for offset, weight, real in zip(*lists, strict=True):
        if real:
            weights.setdefault(offset, []).append(weight)
    return weights


def attention_by_offset(
    attention: torch.Tensor, times: torch.Tensor, mask: torch.Tensor
) -> dict[str, float]:
    """Mean attention weight of the frames at each time offset, from arguments as above.

    The keys are attention/-3, attention/+1 and so on.
    """
    return {
        f"attention/{offset:+d}": sum(values) / len(values)
        for offset, values in sorted(weights_by_offset(attention, times, mask).items())
    }


class Download:
    """An asynchronous copy from the device to the host; `read` waits for it.

    Args:
        numbers: (N,), floating point.
    """

    def __init__(self, numbers: torch.Tensor):
        self._arrived = torch.cuda.Event() if numbers.is_cuda else None
        self._numbers = numbers.to("cpu", non_blocking=True)  # into page-locked memory
        if self._arrived:
            self._arrived.record()

    def read(self) -> torch.Tensor:
        """(N,), on the host."""
        if self._arrived:
            self._arrived.synchronize()
        return self._numbers


class StepScalars:
    """Scalars to log of an optimiser step that the device may still be computing.

    Args:
        step: its number, from 1.
        lr: its learning rate.
        parts: for each accumulated batch, on the device: scalars by name, and attention (B, T),
            which may be None.
        clips: for each accumulated batch, on the host: times and mask (B, T).
        norm: gradient norm, (), on the device.
        skipped: whether the step was skipped, (), on the device.
    """

    def __init__(
        self,
        step: int,
        lr: float,
        parts: list[tuple[dict[str, torch.Tensor], torch.Tensor | None]],
        clips: list[tuple[torch.Tensor, torch.Tensor]],
        norm: torch.Tensor,
        skipped: torch.Tensor,
    ):
        self.step, self.lr, self._clips = step, lr, clips
        self._names = [tuple(scalars) for scalars, _ in parts]
        pieces = [norm.view(1), skipped.to(norm.dtype).view(1)]
        for scalars, attention in parts:
            weights = norm.new_empty(0) if attention is None else attention.flatten()
            pieces += [torch.stack(tuple(scalars.values())), weights]
        self._sizes = [len(piece) for piece in pieces]
        self._download = Download(torch.cat(pieces))

    def read(self) -> tuple[list[dict[str, float]], float, bool]:
        """Wait for the step to end.

        Returns:
            Scalars of each accumulated batch by name, with its attention, if any, by time offset,
            the gradient norm, and whether the step was skipped.
        """
        norm, skipped, *found = self._download.read().split(self._sizes)
        parts = []
        of_parts = zip(self._names, self._clips, found[::2], found[1::2], strict=True)
        for names, (times, mask), values, weights in of_parts:
            scalars = dict(zip(names, values.tolist(), strict=True))
            if len(weights):
                scalars |= attention_by_offset(weights.view_as(mask), times, mask)
            parts.append(scalars)
        return parts, norm.tolist()[0], bool(skipped.tolist()[0])
