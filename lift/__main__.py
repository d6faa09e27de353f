"""`python -m lift` is `lift`."""

import sys

from lift.cli import main

sys.exit(main())
