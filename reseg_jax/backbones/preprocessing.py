"""Images as a network was trained to read them.

Weights that see other pixels than they were trained on are worth little, so the preprocessing
belongs to the weights and is recorded in the config.

Dimension key: `B H W` image axes.
"""

import jax
import jax.numpy as jnp

from reseg_jax.layers.local_contrast import divide, subtract

PREPROCESSINGS = ("caffe", "torchvision", "unit")
CONTRASTS = ("none", "subtractive", "divisive")

# Caffe's VGG-16, which the ReSeg paper used, reads BGR 0..255 minus the mean of its training
# images (Simonyan and Zisserman 2015, section 2.1; the numbers are in the model's release);
# torchvision's networks read RGB 0..1 minus mean over standard deviation (torchvision's manual).
_CAFFE_MEAN_BGR = (103.939, 116.779, 123.68)
_TORCHVISION_MEAN_RGB = (0.485, 0.456, 0.406)
_TORCHVISION_STD_RGB = (0.229, 0.224, 0.225)


def preprocess(images: jax.Array, name: str, contrast: str = "none") -> jax.Array:
    """Pixels in the channel order and units that a network reads.

    Args:
      images: [B, H, W, 3] RGB 0..255, any dtype.
      name: "caffe", BGR minus mean; "torchvision", RGB / 255, normalized; or "unit", RGB / 255.
      contrast: "subtractive" or "divisive" local contrast normalization in place of the mean, or
        "none".

    Returns:
      float32 [B, H, W, 3].
    """
    images = images.astype(jnp.float32)
    if contrast != "none":
        return _contrasted(images, name, contrast)
    if name == "caffe":
        return images[..., ::-1] - _per_channel(_CAFFE_MEAN_BGR)
    if name == "torchvision":
        mean, std = _per_channel(_TORCHVISION_MEAN_RGB), _per_channel(_TORCHVISION_STD_RGB)
        return (images / 255 - mean) / std
    return images / 255


def _per_channel(values):
    return jnp.asarray(values)[None, None, None]


def _contrasted(images, name, contrast):
    """Local contrast in the units that the network reads.

    Which scale the ReSeg authors had is not known: no script of theirs is kept. Here the
    subtractive form has the units of the pixels. The divisive one has deviation 1, which is what
    torchvision's network reads; for Caffe's it is given the deviation of ImageNet's pixels.
    """
    std = _per_channel(_TORCHVISION_STD_RGB)
    if contrast == "divisive":
        images = divide(images)
        return (255 * std * images)[..., ::-1] if name == "caffe" else images
    images = subtract(images)
    if name == "caffe":
        return images[..., ::-1]
    return images / 255 / std if name == "torchvision" else images / 255
