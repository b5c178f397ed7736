"""What the benchmark times of torch: functions that compute one thing once, by name.

Dimension key: `B H W` image axes, `I J` cells of a grid, `C` channels, `U` units, `K` classes.
"""

import torch
from torch import nn

from experiments.bench.convolutions import Conv
from experiments.bench.shapes import Layer
from experiments.bench.torch_opponents import VGG, Head, Network, ReNet, Sweeps, Upsampling
from experiments.bench.torch_process import MEMORY_FORMATS
from reseg_jax.backbones.vgg import VGG16
from reseg_jax.networks.reseg import ReSegConfig

FORMATS = dict(zip(MEMORY_FORMATS, (torch.contiguous_format, torch.channels_last), strict=True))


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
    module = module.to(device, memory_format=FORMATS[memory_format])
    channels, stride = config.backbone.tap(config.tap) if config.frozen else (3, 1)
    cells = [side // stride for side in size]
    inputs = torch.randn(batch, channels, *cells, device=device)
    inputs = inputs.contiguous(memory_format=FORMATS[memory_format])
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
        "VGG": (lambda: VGG(config.backbone, config.tap), (3, *size)),
        "sweeps": (lambda: Sweeps(config), (channels, *cells)),
        "upsampling and classifier": (
            lambda: Upsampling(config),
            (2 * config.units[-1], *cells),
        ),
    }
    make, shape = modules[part]
    module = make().to(device, memory_format=FORMATS[memory_format])
    x = torch.randn(1, *shape, device=device)
    x = x.contiguous(memory_format=FORMATS[memory_format])
    labels = part in ("network", "upsampling and classifier")

    def predict():
        with torch.inference_mode():
            found = module(x)
            return found.argmax(dim=1) if labels else found

    return predict


def conv_runner(conv: Conv, mode: str, memory_format: str, compiled: bool, device: str):
    """() -> one 3x3 convolution with bias and ReLU, with both gradients if `mode` is "input"."""
    layer = nn.Conv2d(conv.channels, conv.features, 3, padding=1)
    module = nn.Sequential(layer, nn.ReLU()).to(device, memory_format=FORMATS[memory_format])

    def random_image(shape):
        image = torch.randn(shape, device=device).permute(0, 3, 1, 2)
        return image.contiguous(memory_format=FORMATS[memory_format])

    image, cotangent = random_image(conv.image_shape), random_image(conv.output_shape)
    image.requires_grad_(mode == "input")
    function = torch.compile(module) if compiled else module
    return lambda: differentiate(function, list(module.parameters()), image, cotangent, mode)


def vgg_runner(last: str, size, memory_format: str, compiled: bool, device: str):
    """() -> VGG-16 from one frame of `size` to convolution `last`."""
    module = VGG(VGG16(), last).to(device, memory_format=FORMATS[memory_format])
    pixels = torch.randn(1, 3, *size, device=device)
    pixels = pixels.contiguous(memory_format=FORMATS[memory_format])
    function = torch.compile(module) if compiled else module
    return lambda: differentiate(function, [], pixels, None, "forward")


RUNNERS = {
    "layer": layer_runner,
    "conv": conv_runner,
    "vgg": vgg_runner,
    "step": step_runner,
    "predict": predict_runner,
}
