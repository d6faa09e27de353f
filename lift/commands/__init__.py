"""The commands, one file each: `main(argv)` parses the flags and runs."""

from lift.openmp import sleep_while_waiting

sleep_while_waiting()  # before a command imports torch
