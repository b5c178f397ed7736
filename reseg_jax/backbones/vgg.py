"""VGG-16 up to a named convolution (Simonyan and Zisserman 2015, column D), paper section 3."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from reseg_jax import devices
from reseg_jax.config import VGG_LAYERS
from reseg_jax.layers.conv import Convolution
from reseg_jax.layers.local_contrast import divide, subtract
from reseg_jax.padding import cells_inside, clear

# Caffe's VGG-16, which the paper used, reads BGR 0..255 minus the mean of its training images;
# torchvision's reads RGB 0..1 minus mean over standard deviation.
_CAFFE_MEAN_BGR = (103.939, 116.779, 123.68)
_TORCHVISION_MEAN_RGB = (0.485, 0.456, 0.406)
_TORCHVISION_STD_RGB = (0.229, 0.224, 0.225)


def preprocess(images: jax.Array, name: str, contrast: str = "none") -> jax.Array:
    """RGB 0..255 [B, H, W, 3], any dtype, as the network `name` was trained to read it.

    "caffe": BGR minus mean; "torchvision": RGB / 255, normalised; "unit": RGB / 255.
    contrast: "subtractive" or "divisive" local normalisation in place of the mean.
    """
    images = images.astype(jnp.float32)
    if contrast != "none":
        return _contrasted(images, name, contrast)
    if name == "caffe":
        return images[..., ::-1] - jnp.asarray(_CAFFE_MEAN_BGR)
    if name == "torchvision":
        mean, std = jnp.asarray(_TORCHVISION_MEAN_RGB), jnp.asarray(_TORCHVISION_STD_RGB)
        return (images / 255 - mean) / std
    return images / 255


def _contrasted(images, name, contrast):
    """Local contrast in the units that the network reads.

    Which scale the authors had is not known: no script of theirs is kept. Here the subtractive
    form has the units of the pixels, and the divisive one, of deviation 1, what torchvision's
    network reads, is given the deviation of ImageNet's pixels for Caffe's.
    """
    std = jnp.asarray(_TORCHVISION_STD_RGB)
    if contrast == "divisive":
        images = divide(images)
        return (255 * std * images)[..., ::-1] if name == "caffe" else images
    images = subtract(images)
    if name == "caffe":
        return images[..., ::-1]
    return images / 255 / std if name == "torchvision" else images / 255


def _pool(x):
    """2x2 maxima of an even height and width; of `nn.max_pool`, XLA is slow with the gradient."""
    return functools.reduce(jnp.maximum, (x[:, i::2, j::2] for i in (0, 1) for j in (0, 1)))


class VGG(nn.Module):
    """Convolutions 3x3 with ReLU up to and including `last_layer`; 2x2 pooling between blocks.

    Reads preprocessed [B, H, W, 3]; returns [B, ceil(H / s), ceil(W / s), C] with the layer's
    stride s and channels C. Zeros (the mean colour) are appended at the bottom and the right
    where s does not divide the image, so that cell (i, j) begins at pixel (s i, s j). With `taps`,
    names of layers on the way, a tuple: the last layer's activations, then theirs. `inside`: pixels
    that count where the images do not fill the array (`reseg_jax.padding`); beyond are zeros, then.
    """

    last_layer: str
    taps: tuple[str, ...] = ()

    @nn.compact
    def __call__(self, x: jax.Array, inside: jax.Array | None = None) -> jax.Array:
        stride = VGG_LAYERS[self.last_layer][1]
        height, width = x.shape[1:3]
        x = jnp.pad(x, ((0, 0), (0, -height % stride), (0, -width % stride), (0, 0)))
        x, block_stride, tapped = devices.spread(clear(x, inside)), 1, {}
        if inside is not None:
            inside = cells_inside(inside, stride) * stride
        for name, (channels, layer_stride) in VGG_LAYERS.items():
            if layer_stride > block_stride:
                x, block_stride = _pool(x), layer_stride
                inside = None if inside is None else inside // 2
            x = clear(nn.relu(Convolution(channels, name=name)(x)), inside)
            tapped[name] = x
            if name == self.last_layer:
                return (x, *(tapped[tap] for tap in self.taps)) if self.taps else x
        raise ValueError(f"no VGG layer {self.last_layer!r}")
