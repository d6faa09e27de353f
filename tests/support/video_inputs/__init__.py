"""Videos and folders that people feed to interpolation tools, made with PyAV alone.

Each is small (mostly 96x64 and a dozen frames) and has one property that tools get wrong: a
variable rate, a clock that starts at 5000 s, a mirrored display matrix, HDR, alpha, fonts,
chapters, a lost packet. Every subject has a module with a table `MAKERS`: file name to function.
"""
