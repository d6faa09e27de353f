import torch.nn.functional as F


def grid_sample(input, grid, mode="bilinear", padding_mode="zeros", align_corners=False, *, backend=None):
    return F.grid_sample(input, grid, mode, padding_mode, align_corners)
