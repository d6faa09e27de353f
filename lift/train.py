"""`python -m lift.train`: the same as `lift train`."""

import sys

from lift.commands.train import main
from lift.errors import run

if __name__ == "__main__":
    sys.exit(run(main))
