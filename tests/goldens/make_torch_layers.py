"""Make torch_layers.npz: what PyTorch's layers answer that networks here have, too.

Needs torch, which the suite does not: `pip install torch==2.13.0 numpy`, then run this file.
torchvision is not needed: the bottleneck block is written as its state dicts name it
(torchvision/models/resnet.py), so that the test reads it as it reads a file of weights.

Entries are CASE/x and CASE/y, NHWC, and CASE/NAME for the state dict's tensors as they are.
"""

import pathlib

import numpy as np
import torch
from torch import nn
from torch.nn import functional

ARRAYS = {}


class Bottleneck(nn.Module):
    """He et al. 2016, figure 5, the stride in the 3x3 convolution."""

    def __init__(self, inputs, channels, stride=1, dilation=1):
        super().__init__()
        wide = 4 * channels
        self.conv1 = nn.Conv2d(inputs, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride, dilation, dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, wide, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(wide)
        self.downsample = None
        if stride > 1 or inputs != wide:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, wide, 1, stride, bias=False), nn.BatchNorm2d(wide)
            )

    def forward(self, x):
        y = torch.relu(self.bn1(self.conv1(x)))
        y = torch.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


def keep(case, x, y, state=()):
    for name, image in (("x", x), ("y", y)):
        ARRAYS[f"{case}/{name}"] = image.detach().permute(0, 2, 3, 1).numpy()
    for name, tensor in dict(state).items():
        if not name.endswith("num_batches_tracked"):
            ARRAYS[f"{case}/{name}"] = tensor.numpy()


def randomize(module):
    """Statistics that are neither 0 nor 1, too."""
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 2)
            elif tensor.is_floating_point():
                tensor.normal_(std=0.3)
    return module.eval()


def keep_module(case, module, x):
    randomize(module)
    keep(case, x, module(x), module.state_dict())


torch.manual_seed(0)
keep_module("identity", Bottleneck(16, 4), torch.randn(2, 16, 7, 6))
keep_module("projection", Bottleneck(6, 4), torch.randn(2, 6, 7, 6))
keep_module("stride", Bottleneck(16, 4, stride=2), torch.randn(2, 16, 7, 6))
keep_module("dilated", Bottleneck(16, 4, dilation=2), torch.randn(2, 16, 7, 6))
keep_module("stem", nn.Conv2d(3, 4, 7, 2, 3, bias=False), torch.randn(2, 3, 14, 11))
keep_module("dilated_convolution", nn.Conv2d(3, 4, 3, 1, 4, 4), torch.randn(2, 3, 9, 8))
keep_module(
    "vgg",  # a block as torchvision's vgg16_bn has it
    nn.Sequential(
        nn.Conv2d(3, 5, 3, padding=1),
        nn.BatchNorm2d(5),
        nn.ReLU(),
        nn.Conv2d(5, 5, 3, padding=1),
        nn.BatchNorm2d(5),
        nn.ReLU(),
        nn.MaxPool2d(2, 2),
    ),
    torch.randn(2, 3, 8, 6),
)
for size in ((9, 16), (7, 5), (4, 3)):
    x = torch.randn(1, 2, *size)
    for bins in (1, 2, 3, 6):
        case = f"bins_{bins}_of_{size[0]}x{size[1]}"
        keep(case, x, functional.adaptive_avg_pool2d(x, bins))
x = torch.randn(2, 3, 9, 8)
keep("centered_pool", x, functional.max_pool2d(x, 3, 2, 1))
pooled, places = functional.max_pool2d(x, 2, 2, ceil_mode=True, return_indices=True)
keep("unpool", x, functional.max_unpool2d(pooled, places, 2, 2, output_size=x.shape))
x = torch.randn(1, 2, 4, 5)
corners = functional.interpolate(x, (25, 33), mode="bilinear", align_corners=True)
keep("corners", x, corners)
keep("middles", x, functional.interpolate(x, (7, 11), mode="bilinear", align_corners=False))

np.savez_compressed(pathlib.Path(__file__).with_name("torch_layers.npz"), **ARRAYS)
