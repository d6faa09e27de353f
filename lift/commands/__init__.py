"""The commands, one file each: `main(argv)` parses the flags and runs."""
