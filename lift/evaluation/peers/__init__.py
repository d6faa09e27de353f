"""Other models in the same table: their code and their weights, from the user's own copies."""

from lift.evaluation.peers.flags import NAMES, PLACES, add_flags, method, models_named

__all__ = ["NAMES", "PLACES", "add_flags", "models_named", "method"]
