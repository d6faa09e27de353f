"""The commands, a file each: `main(argv)` reads the flags and runs."""
