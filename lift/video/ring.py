"""Keys and values of the latest frames, each in a place of its own, where the transformer reads
them without a copy.
"""

import torch

from lift.model.types import FrameFeatures


class Ring:
    """A fixed number of places at fixed addresses; a new frame takes the place of one that is no
    longer needed.

    Attention asks for no order, since every frame carries its time. What lies in places that are
    not in use is finite and masked.

    Attributes:
        places: how many frames there is room for.
        keys, values: (1, places, layers, H/16, W/16, heads, d); None before the first frame.
    """

    def __init__(self, places: int):
        self.places = places
        self.keys: torch.Tensor | None = None
        self.values: torch.Tensor | None = None

    def put(self, place: int, features: FrameFeatures) -> None:
        """Keep the keys and values of one frame; features of another size empty the ring first."""
        new = features.keys
        if (
            self.keys is None
            or self.keys.shape[2:] != new.shape[1:]
            or (self.keys.dtype, self.keys.device) != (new.dtype, new.device)
        ):
            self.keys, self.values = (
                new.new_zeros(1, self.places, *new.shape[1:]) for _ in range(2)
            )
        self.keys[0, place].copy_(features.keys[0])
        self.values[0, place].copy_(features.values[0])
