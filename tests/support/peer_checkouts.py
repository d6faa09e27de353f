"""Checkouts of other models with the entry points of the real ones, and nothing of their code.

Each network has one weight, its gain. It returns the references weighted by time and multiplied by
the gain, plus 0.1 in the first channel, so that a test sees weights, t and the order of channels.
"""

from pathlib import Path

import torch

MARK = 0.1 * 255  # what is added to the first channel

RIFE = {
    # No model/__init__.py, as in the real one.
    "model/RIFE.py": """
import torch
from model.IFNet import *
from model.warplayer import warp

device = torch.device("meta")  # the real one decides by whether there is CUDA

class Model:
    def __init__(self, local_rank=-1, arbitrary=False):
        self.flownet = IFNet(2 if arbitrary else 1)
        self.device()

    def device(self):
        self.flownet.to(device)

    def inference(self, img0, img1, scale=1, scale_list=None, TTA=False, timestep=0.5):
        from model.late import check
        check(img0, 32 * max(1, 1 / scale))
        return self.flownet(img0, img1, timestep)
""",
    "model/IFNet.py": """
import torch
from torch import nn
from model.warplayer import warp

class IFNet(nn.Module):
    def __init__(self, count):
        super().__init__()
        self.gain = nn.Parameter(torch.zeros(count))

    def forward(self, img0, img1, t):
        t = t if len(self.gain) == 2 else 0.5
        out = self.gain[0] * (warp(img0) * (1 - t) + warp(img1) * t)
        out[:, :1] += 0.1
        return out
""",
    "model/warplayer.py": """
import torch
device = torch.device("meta")

def warp(image):
    return image + torch.zeros(1, device=device)
""",
    "model/late.py": """
def check(image, multiple):
    height, width = image.shape[-2:]
    assert height % multiple == 0 and width % multiple == 0, f"{width}x{height}"
""",
}

PRACTICAL_CODE = {name: RIFE[name] for name in ("model/warplayer.py", "model/late.py")}
PRACTICAL_MODEL = {  # lies beside the weights
    "RIFE_HDv3.py": """
import torch
from model.warplayer import warp
from train_log.IFNet_HDv3 import *

device = torch.device("meta")

class Model:
    def __init__(self, local_rank=-1):
        self.flownet = IFNet()
        self.flownet.to(device)
        self.version = 4.25

    def inference(self, img0, img1, timestep=0.5, scale=1.0):
        from model.late import check
        check(img0, 128)
        return self.flownet(img0, img1, timestep)
""",
    "IFNet_HDv3.py": """
import torch
from torch import nn

class IFNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.zeros(1))

    def forward(self, img0, img1, t):
        out = self.gain * (img0 * (1 - t) + img1 * t)
        out[:, :1] += 0.1
        return out
""",
}

_IFRNET = """
import torch
from torch import nn
from utils import blend
from loss import *

class Model(nn.Module):
    def __init__(self, local_rank=-1, lr=1e-4):
        super().__init__()
        self.gain = nn.Parameter(torch.zeros(COUNT))

    def inference(self, img0, img1, embt, scale_factor=1.0):
        assert embt.shape == (1, 1, 1, 1)
        assert all(round(n * scale_factor, 6) % 16 == 0 for n in img0.shape[-2:]), img0.shape
        return blend(img0, img1, embt, self.gain[0])
"""
IFRNET = {
    "models/IFRNet.py": _IFRNET.replace("COUNT", "1"),
    "models/IFRNet_S.py": _IFRNET.replace("COUNT", "2"),
    "models/IFRNet_L.py": _IFRNET.replace("COUNT", "3"),
    "utils.py": """
def blend(img0, img1, t, gain):
    out = gain * (img0 * (1 - t) + img1 * t)
    out[:, :1] += 0.1
    return out
""",
    "loss.py": "import torch\ndevice = torch.device('meta')\n",
}

EMAVFI = {
    "config.py": """
from model import feature_extractor, flow_estimation

def init_model_config(F=32, W=7, depth=[2, 2, 2, 4, 4]):
    return {"count": F}, {}

MODEL_CONFIG = {
    "LOGNAME": "ours",
    "MODEL_TYPE": (feature_extractor, flow_estimation),
    "MODEL_ARCH": init_model_config(),
}
""",
    "model/__init__.py": """
import torch
from torch import nn

class feature_extractor(nn.Module):
    def __init__(self, count):
        super().__init__()
        self.gain = nn.Parameter(torch.zeros(count))

class flow_estimation(nn.Module):
    def __init__(self, backbone):
        super().__init__()
        self.feature_bone = backbone

    def forward(self, img0, img1, t):
        area = img0.shape[2] * img0.shape[3]
        if not hasattr(self, "HW") or self.HW.item() != area:  # the real one's masks, by area
            self.register_buffer("attn_mask", torch.zeros(img0.shape[2:]))
            self.register_buffer("HW", torch.tensor([area]))
        t = torch.full((1, 1, 1, 1), t).cuda()
        out = self.feature_bone.gain[0] * (img0 * (1 - t) + img1 * t) + self.attn_mask
        out[:, :1] += 0.1
        return out
""",
    "Trainer.py": """
import torch
from config import *

class Model:
    def __init__(self, local_rank):
        backbone, flow = MODEL_CONFIG["MODEL_TYPE"]
        arguments, others = MODEL_CONFIG["MODEL_ARCH"]
        self.net = flow(backbone(**arguments), **others)
        self.device()

    def device(self):
        self.net.to(torch.device("meta"))  # the real one insists on CUDA

    def inference(self, img0, img1, TTA=False, timestep=0.5, fast_TTA=False):
        frame = self.net(img0, img1, timestep)
        return frame * (0.5 if TTA else 1)

    def hr_inference(self, img0, img1, TTA=False, down_scale=1.0, timestep=0.5, fast_TTA=False):
        return self.inference(img0, img1, TTA, timestep) * down_scale
""",
}


def write_files(folder: Path, files: dict[str, str]) -> Path:
    """Write a checkout; returns its folder."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def save_weights(path: Path, count: int = 1, name: str = "module.gain", gain: float = 0.5) -> Path:
    """A checkpoint with one gain `count` times, as the authors save theirs; returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({name: torch.full((count,), gain), "module.teacher.bias": torch.zeros(2)}, path)
    return path
