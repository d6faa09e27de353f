"""`python -m lift` is `lift`."""
import sys

from .cli import main

sys.exit(main())
