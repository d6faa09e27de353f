"""`python -m lift.inference`: the command in `lift/commands/inference.py`."""

import sys

from lift.commands.inference import main
from lift.errors import run

if __name__ == "__main__":
    sys.exit(run(main))
