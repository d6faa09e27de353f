"""Suites of the ops that make up a frame, compared with plain PyTorch, eager and compiled."""

from benchmarks.harness.suite import Suite

VARIANTS = ("triton", "reference", "compiled")

FRAME_SUITES: tuple[Suite, ...] = ()
