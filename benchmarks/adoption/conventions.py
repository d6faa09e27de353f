"""Backward warps of other projects, re-stated from their definitions.

Every one samples `grid = base + unit * flow` by PyTorch's `grid_sample`, as its project does; names
and arguments are those of the project, with the project in front.

    RIFE, EMA-VFI    hzwer/ECCV2022-RIFE, MCG-NJU/EMA-VFI: model/warplayer.py
    IFRNet           ltkong218/IFRNet: utils.py
    SoftSplat        sniklaus/softmax-splatting: run.py
    PWC-Net          NVlabs/PWC-Net and sniklaus/pytorch-pwc, which UPR-Net's relatives use
    BasicSR, mmagic  XPixelGroup/BasicSR: archs/arch_util.py; open-mmlab/mmagic: flow_warp
"""

import torch
import torch.nn.functional as F


def _axis(size: int, inset: float, like: torch.Tensor) -> torch.Tensor:
    return torch.linspace(inset - 1, 1 - inset, size, dtype=like.dtype, device=like.device)


def _moved(flow: torch.Tensor, inset_x: float = 0.0, inset_y: float = 0.0) -> torch.Tensor:
    """The grid (B, H, W, 2) of a flow (B, 2, H, W) in units of 2 / (size - 1)."""
    B, _, H, W = flow.shape
    x = _axis(W, inset_x, flow).view(1, 1, 1, W).expand(B, 1, H, W)
    y = _axis(H, inset_y, flow).view(1, 1, H, 1).expand(B, 1, H, W)
    base = torch.cat((x, y), 1)
    units = torch.cat((flow[:, :1] / ((W - 1) / 2), flow[:, 1:] / ((H - 1) / 2)), 1)
    return (base + units).permute(0, 2, 3, 1)


_rife_grids: dict[str, torch.Tensor] = {}


def rife_warp(tenInput, tenFlow):
    """RIFE and EMA-VFI: border, align_corners; the base grid is cached by device and shape."""
    key = f"{tenFlow.device} {tuple(tenFlow.shape)}"
    if key not in _rife_grids:
        _rife_grids[key] = _moved(torch.zeros_like(tenFlow)).permute(0, 3, 1, 2).detach()
    W, H = tenInput.shape[3], tenInput.shape[2]
    units = torch.cat((tenFlow[:, :1] / ((W - 1) / 2), tenFlow[:, 1:] / ((H - 1) / 2)), 1)
    grid = (_rife_grids[key] + units).permute(0, 2, 3, 1)
    return F.grid_sample(tenInput, grid, mode="bilinear", padding_mode="border", align_corners=True)


def ifrnet_warp(img, flow):
    """IFRNet: border, align_corners; the base grid is built at every call."""
    return F.grid_sample(
        img, _moved(flow), mode="bilinear", padding_mode="border", align_corners=True
    )


def softsplat_backwarp(tenInput, tenFlow):
    """SoftSplat: zeros, no align_corners, base of pixel centres but a flow in 2 / (size - 1)."""
    H, W = tenFlow.shape[2:]
    grid = _moved(tenFlow, 1 / W, 1 / H)
    return F.grid_sample(tenInput, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def pwc_backwarp(tenInput, tenFlow):
    """PWC-Net in sniklaus' version: a channel of ones is sampled along and gives the mask."""
    ones = tenInput.new_ones(tenInput.shape[0], 1, *tenInput.shape[2:])
    both = torch.cat((tenInput, ones), 1)
    out = F.grid_sample(
        both, _moved(tenFlow), mode="bilinear", padding_mode="zeros", align_corners=True
    )
    mask = (out[:, -1:] > 0.999).to(out.dtype)
    return out[:, :-1] * mask


def pwcnet_warp(x, flo):
    """PWC-Net in NVIDIA's version: ones of every channel are sampled by a second call."""
    grid = _moved(flo)
    out = F.grid_sample(x, grid, align_corners=True)
    mask = F.grid_sample(torch.ones_like(x), grid, align_corners=True)
    mask[mask < 0.9999] = 0
    mask[mask > 0] = 1
    return out * mask


def _positions(x, flow):
    """The grid of a flow (B, H, W, 2) in pixels, by positions in pixels."""
    H, W = x.shape[2:]
    rows, columns = torch.meshgrid(
        torch.arange(H, dtype=x.dtype, device=x.device),
        torch.arange(W, dtype=x.dtype, device=x.device),
        indexing="ij",
    )
    moved = torch.stack((columns, rows), 2) + flow
    across = 2.0 * moved[..., 0] / max(W - 1, 1) - 1.0
    down = 2.0 * moved[..., 1] / max(H - 1, 1) - 1.0
    return torch.stack((across, down), 3)


def basicsr_flow_warp(
    x,
    flow,
    interp_mode="bilinear",
    padding_mode="zeros",
    align_corners=True,
    use_pad_mask=False,
):
    """BasicSR: flow (B, H, W, 2), options of grid_sample, and a mask for PWC-Net."""
    if use_pad_mask:
        x = F.pad(x, (0, 0, 0, 0, 0, 1), value=1)
    grid = _positions(x, flow)
    out = F.grid_sample(
        x, grid, mode=interp_mode, padding_mode=padding_mode, align_corners=align_corners
    )
    if use_pad_mask:
        mask = out[:, -1:]
        mask[mask < 0.9999] = 0
        mask[mask > 0] = 1
        out = mask * out[:, :-1]
    return out


def mmagic_flow_warp(x, flow, interpolation="bilinear", padding_mode="zeros", align_corners=True):
    """mmagic: as BasicSR's, with another name of the mode and the two shapes compared."""
    if x.shape[-2:] != flow.shape[1:3]:
        raise ValueError(f"spatial sizes of x {x.shape[-2:]} and flow {flow.shape[1:3]} differ")
    return F.grid_sample(
        x,
        _positions(x, flow),
        mode=interpolation,
        padding_mode=padding_mode,
        align_corners=align_corners,
    )


# {project: (function, whether its flow is (B, H, W, 2))}
CONVENTIONS = {
    "RIFE, EMA-VFI `warp`": (rife_warp, False),
    "IFRNet `warp`": (ifrnet_warp, False),
    "SoftSplat `backwarp`": (softsplat_backwarp, False),
    "pytorch-pwc `backwarp`": (pwc_backwarp, False),
    "PWC-Net `warp`": (pwcnet_warp, False),
    "BasicSR `flow_warp`": (basicsr_flow_warp, True),
    "mmagic `flow_warp`": (mmagic_flow_warp, True),
}
