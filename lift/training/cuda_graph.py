"""A training step's forward, losses and backward as a CUDA graph: `lift train --cuda_graph`.

The optimiser, which a step's learning rate changes, is launched as ever.
"""

from collections.abc import Callable

import torch
from torch import nn

from lift.data.clip import Batch
from lift.errors import LiftError
from lift.video.cuda_graphs import CudaGraphRecorder, GraphedCall

Results = tuple[dict[str, torch.Tensor], torch.Tensor]  # scalars by name, and attention


class GraphedGradients:
    """Gradients of a batch, recorded once for every shape and replayed.

    They are results of the graph, not its side effects: a replay adds nothing to `grad`, so batches
    may be accumulated, and the first replay is compared with the gradients of a plain call.

    Args:
        model: whose parameters' gradients are wanted.
        forward: a batch and a weight -> the loss to be differentiated, scalars by name and
            attention.
        recorder: for tests.

    Raises:
        LiftError: the model is not on a GPU.
    """

    def __init__(self, model: nn.Module, forward: Callable, recorder: Callable | None = None):
        device = next(model.parameters()).device
        if recorder is None and device.type != "cuda":
            raise LiftError(
                f"CUDA graphs need a GPU, and the model is trained on {device.type}; "
                "leave --cuda_graph out"
            )
        self._model, self._forward = model, forward
        self._recorder = recorder or CudaGraphRecorder(device)
        self._names: dict[tuple, tuple[str, ...]] = {}
        self._calls: dict[tuple, GraphedCall] = {}

    def __call__(self, batch: Batch, weight: float) -> Results:
        """Add the gradients of a batch to those of the parameters.

        Args:
            batch: on the GPU.
            weight: of its loss.
        """
        # What is trained changes when the encoder thaws.
        parameters = [p for p in self._model.parameters() if p.requires_grad]
        key = len(parameters), weight
        if key not in self._calls:
            self._calls[key] = GraphedCall(
                lambda batch: self._gradients(batch, parameters, key), self._recorder
            )
        flat, scalars, attention = self._calls[key](batch)
        parts = flat.split([p.numel() for p in parameters])
        gradients = [
            x.as_strided(p.shape, p.stride()) for x, p in zip(parts, parameters, strict=True)
        ]
        if parameters[0].grad is None:
            for p, gradient in zip(parameters, gradients, strict=True):
                p.grad = gradient
        else:
            torch._foreach_add_([p.grad for p in parameters], gradients)
        return dict(zip(self._names[key], scalars.unbind(), strict=True)), attention

    def _gradients(self, batch, parameters, key):
        """The gradients of all parameters in one tensor, the scalars in another, attention."""
        loss, scalars, attention = self._forward(batch, key[1])
        self._names[key] = tuple(scalars)
        gradients = torch.autograd.grad(loss, parameters)
        flat = [_in_memory_order(g, p) for g, p in zip(gradients, parameters, strict=True)]
        return torch.cat(flat), torch.stack(tuple(scalars.values())), attention


def _in_memory_order(gradient: torch.Tensor, parameter: torch.Tensor) -> torch.Tensor:
    """The values of a gradient, flat, as those of its dense parameter lie in memory."""
    order = sorted(range(parameter.ndim), key=lambda i: -parameter.stride(i))
    return gradient.permute(order).reshape(-1)
