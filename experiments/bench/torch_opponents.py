"""The ReNet layer and the ReSeg network as a torch user writes them.

`nn.GRU(bidirectional=True)` runs along the columns, then along the rows, in the usual public
form: columns become the batch, GRU, rows become the batch, GRU.

Dimension key: `B H W C` image axes, `I J` cells of a grid, `U` units, `K` classes.
"""

from torch import nn

from experiments.bench.torch_process import LAYOUTS
from reseg_jax.backbones.vgg import VGG16
from reseg_jax.networks.reseg import ReSegConfig

_CELLS = {"gru": nn.GRU, "lstm": nn.LSTM, "rnn": nn.RNN}


class ReNet(nn.Module):
    """[B, H, W, C] -> [B, I, J, 2 U]."""

    def __init__(self, channels, units, patch=1, cell="gru", layout=LAYOUTS[0]):
        super().__init__()
        self.patch, self.batch_first = patch, layout == LAYOUTS[0]
        features = {"vertical": patch**2 * channels, "horizontal": 2 * units}
        for direction, size in features.items():
            pair = _CELLS[cell](size, units, batch_first=self.batch_first, bidirectional=True)
            self.add_module(direction, pair)

    def forward(self, image):
        batch, height, width, channels = image.shape
        p = self.patch
        cells = image.reshape(batch, height // p, p, width // p, p, channels)
        cells = cells.transpose(2, 3).reshape(batch, height // p, width // p, -1)
        if self.batch_first:
            columns = self._sweep(self.vertical, cells.transpose(1, 2))  # [B, J, I, D]
            return self._sweep(self.horizontal, columns.transpose(1, 2))
        columns = self._sweep(self.vertical, cells.transpose(0, 1))  # [I, B, J, D]
        rows = self._sweep(self.horizontal, columns.permute(2, 1, 0, 3))  # [J, B, I, D]
        return rows.permute(1, 2, 0, 3)

    def _sweep(self, pair, cells):
        """Sweeps the third axis of [*, *, T, D], or the first of [T, *, *, D]."""
        steps = (-1, cells.shape[2]) if self.batch_first else (cells.shape[0], -1)
        swept, _ = pair(cells.reshape(*steps, cells.shape[3]))
        return swept.reshape(*cells.shape[:3], -1)


class Upsampling(nn.Module):
    """[B, D, I, J] -> logits [B, K, H, W]: transposed convolutions with ReLU, 1x1 classifier."""

    def __init__(self, config: ReSegConfig):
        super().__init__()
        channels = 2 * config.units[-1]
        layers = []
        sizes = zip(config.upsample_channels, config.upsample_sizes, strict=True)
        for filters, size in sizes:
            layers += [nn.ConvTranspose2d(channels, filters, size, stride=size), nn.ReLU()]
            channels = filters
        self.layers = nn.Sequential(*layers, nn.Conv2d(channels, config.num_classes, 1))

    def forward(self, x):
        return self.layers(x)


class Sweeps(nn.Module):
    """[B, C, I, J] -> [B, 2 U, I, J]: the ReNet layers, between the channels-first parts."""

    def __init__(self, config: ReSegConfig):
        super().__init__()
        channels, layers = config.backbone.tap(config.tap).channels, []
        for units, (patch, _) in zip(config.units, config.patch_sizes, strict=True):
            layers.append(ReNet(channels, units, patch, config.cell))
            channels = 2 * units
        self.layers = nn.Sequential(*layers)

    def forward(self, x):
        return self.layers(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class VGG(nn.Module):
    """Preprocessed pixels [B, 3, H, W] -> [B, C, I, J]: VGG-16 up to convolution `tap`."""

    def __init__(self, backbone: VGG16, tap: str):
        super().__init__()
        channels, stride, layers = 3, 1, []
        for name in backbone.layers((tap,)):
            filters, layer_stride = backbone.tap(name)
            if layer_stride > stride:
                layers.append(nn.MaxPool2d(2, ceil_mode=True))  # as ours at odd sizes
            layers += [nn.Conv2d(channels, filters, 3, padding=1), nn.ReLU()]
            channels, stride = filters, layer_stride
        self.layers = nn.Sequential(*layers)

    def forward(self, x):
        return self.layers(x)


class Head(nn.Sequential):
    """[B, C, I, J] features -> logits [B, K, H, W]."""

    def __init__(self, config: ReSegConfig):
        super().__init__(Sweeps(config), Upsampling(config))


class Network(nn.Sequential):
    """Preprocessed pixels [B, 3, H, W] -> logits [B, K, H, W]."""

    def __init__(self, config: ReSegConfig):
        super().__init__(VGG(config.backbone, config.tap), Head(config))
