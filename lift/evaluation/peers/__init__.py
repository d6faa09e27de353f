"""Other models in the same table: their code and their weights, from the user's own copies."""

from lift.evaluation.peers.flags import NAMES, add_flags, method

__all__ = ["NAMES", "add_flags", "method"]
