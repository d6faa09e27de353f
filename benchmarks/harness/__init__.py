"""How a variant is checked and timed, and how two runs are compared."""
