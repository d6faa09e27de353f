"""Other models in the same table: their code and their weights, from the user's own copies."""

from lift.evaluation.peers.flags import NAMES, PLACES, add_flags, given, method

__all__ = ["NAMES", "PLACES", "add_flags", "given", "method"]
