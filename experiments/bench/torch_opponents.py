"""The ReNet layer and the ReSeg network as a torch user writes them.

`nn.GRU(bidirectional=True)` runs along the columns, then along the rows, in the usual public
form: columns become the batch, GRU, rows become the batch, GRU.

Dimension key: `B H W C` image axes, `I J` cells of a grid, `U` units, `K` classes.
"""

import torch
from torch import nn

from experiments.bench.shapes import Layer
from experiments.bench.torch_process import LAYOUTS, MEMORY_FORMATS
from reseg_jax.networks.reseg import ReSegConfig

_CELLS = {"gru": nn.GRU, "lstm": nn.LSTM, "rnn": nn.RNN}
CELLS = tuple(_CELLS)
_FORMATS = dict(zip(MEMORY_FORMATS, (torch.contiguous_format, torch.channels_last), strict=True))


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
    """Preprocessed pixels [B, 3, H, W] -> [B, C, I, J]: VGG-16 up to `config.tap`."""

    def __init__(self, config: ReSegConfig):
        super().__init__()
        channels, stride, layers = 3, 1, []
        for name in config.backbone.layers((config.tap,)):
            filters, layer_stride = config.backbone.tap(name)
            if layer_stride > stride:
                layers.append(nn.MaxPool2d(2))
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
        super().__init__(VGG(config), Head(config))


def layer_runner(layer: Layer, mode: str, layout: str, compiled: bool, device: str):
    """() -> one forward, or forward and backward, of a layer with random weights and input."""
    module = ReNet(layer.channels, layer.units, layer.patch, layer.cell, layout).to(device)
    image = torch.randn(layer.image_shape, device=device, requires_grad=mode == "input")
    cotangent = torch.randn(layer.output_shape, device=device)
    function = torch.compile(module) if compiled else module
    return lambda: differentiate(function, list(module.parameters()), image, cotangent, mode)


def differentiate(function, weights, image, cotangent, mode):
    """(output, gradients of what `mode` asks for); see `shapes.MODES`."""
    if mode == "forward":
        with torch.inference_mode():
            return function(image), None
    output = function(image)
    asked = weights if mode == "weights" else [*weights, image]
    return output, torch.autograd.grad(output, asked, cotangent)


def step_runner(config: ReSegConfig, batch: int, size, memory_format: str, device: str):
    """() -> one update by Adadelta of the head, on random features and labels [B, H, W].

    Of the whole network, on pixels, if its VGG is trainable.
    """
    module = Head(config) if config.frozen else Network(config)
    module = module.to(device, memory_format=_FORMATS[memory_format])
    channels, stride = config.backbone.tap(config.tap) if config.frozen else (3, 1)
    cells = [side // stride for side in size]
    inputs = torch.randn(batch, channels, *cells, device=device)
    inputs = inputs.contiguous(memory_format=_FORMATS[memory_format])
    labels = torch.randint(config.num_classes, (batch, *size), device=device)
    optimizer = adadelta(module)
    return lambda: update(module, optimizer, inputs, labels)


def adadelta(module: nn.Module) -> torch.optim.Optimizer:
    """With the constants of the released run, as in `reseg_jax.training.optimizers`."""
    return torch.optim.Adadelta(module.parameters(), lr=1.0, rho=0.95, eps=1e-6)


def update(module, optimizer, inputs, labels):
    """One step on features or pixels [B, C, I, J] and [B, H, W]; returns the loss before it.

    The loss is ours: cross-entropy summed over an image's pixels, mean over the images.
    """
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(module(inputs), labels, reduction="sum") / len(labels)
    loss.backward()
    optimizer.step()
    return loss.detach()


def predict_runner(config: ReSegConfig, size, part: str, memory_format: str, device: str):
    """() -> one frame of `size` through the network or one `part` of it, with random weights.

    part: "network" (to labels), "VGG", "sweeps" or "upsampling and classifier".
    """
    channels, stride = config.backbone.tap(config.tap)
    cells = [side // stride for side in size]
    modules = {
        "network": (lambda: Network(config), (3, *size)),
        "VGG": (lambda: VGG(config), (3, *size)),
        "sweeps": (lambda: Sweeps(config), (channels, *cells)),
        "upsampling and classifier": (
            lambda: Upsampling(config),
            (2 * config.units[-1], *cells),
        ),
    }
    make, shape = modules[part]
    module = make().to(device, memory_format=_FORMATS[memory_format])
    x = torch.randn(1, *shape, device=device)
    x = x.contiguous(memory_format=_FORMATS[memory_format])
    labels = part in ("network", "upsampling and classifier")

    def predict():
        with torch.inference_mode():
            found = module(x)
            return found.argmax(dim=1) if labels else found

    return predict


RUNNERS = {"layer": layer_runner, "step": step_runner, "predict": predict_runner}


# --- our weights, for the test that both compute the same -----------------------------------------


def load_renet(module: ReNet, params: dict, cell: str) -> None:
    """Our parameters (NumPy) into `module`: torch's z is 1 - u, and its second bias is 0."""
    for direction, pair in params.items():
        rnn = getattr(module, direction)
        for suffix, way in (("", "forward"), ("_reverse", "backward")):
            values = {name: torch.tensor(value) for name, value in pair[way].items()}
            if cell == "gru":
                units = values["recurrent_kernel"].shape[0]
                for value in values.values():
                    value[..., units : 2 * units] *= -1
            with torch.no_grad():
                getattr(rnn, f"weight_ih_l0{suffix}").copy_(values["input_kernel"].T)
                getattr(rnn, f"weight_hh_l0{suffix}").copy_(values["recurrent_kernel"].T)
                getattr(rnn, f"bias_ih_l0{suffix}").copy_(values["bias"])
                getattr(rnn, f"bias_hh_l0{suffix}").zero_()


def load_head(module: Head, params: dict, config: ReSegConfig) -> None:
    """Our head's parameters (NumPy) into `module`."""
    sweeps, upsampling = module
    for i, renet in enumerate(sweeps.layers):
        load_renet(renet, params[f"renet_{i}"], config.cell)
    *upsamplers, classifier = [layer for layer in upsampling.layers if hasattr(layer, "weight")]
    with torch.no_grad():
        for i, layer in enumerate(upsamplers):
            ours = params[f"upsample_{i}"]
            layer.weight.copy_(torch.tensor(ours["kernel"]).permute(2, 3, 0, 1))  # [C, F, h, w]
            layer.bias.copy_(torch.tensor(ours["bias"]))
        kernel = torch.tensor(params["classifier"]["kernel"])
        classifier.weight.copy_(kernel.T[:, :, None, None])
        classifier.bias.copy_(torch.tensor(params["classifier"]["bias"]))


def load_vgg(module: VGG, params: dict) -> None:
    """Our VGG's parameters (NumPy) into `module`."""
    convolutions = [layer for layer in module.layers if hasattr(layer, "weight")]
    with torch.no_grad():
        for layer, ours in zip(convolutions, params.values(), strict=True):
            layer.weight.copy_(torch.tensor(ours["kernel"]).permute(3, 2, 0, 1))
            layer.bias.copy_(torch.tensor(ours["bias"]))
