"""Synthetic motion with exact flow: scenes, and the textures they are painted with."""

from lift.data.synthetic.scene import Layer, Path, SyntheticScene, cut_out, draw_path, speed

__all__ = ["Layer", "Path", "SyntheticScene", "cut_out", "draw_path", "speed"]
