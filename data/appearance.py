"""Training images in other light: colors, gamma and noise, drawn at random. Labels stay.

Dimension key: `H W` image axes.
"""

import math

import numpy as np
from PIL import Image, ImageEnhance


def jitter_color(generator: np.random.Generator, image: np.ndarray, strength: float) -> np.ndarray:
    """Brightness, contrast and saturation times a random factor each.

    Contrast is about the mean gray of the image, saturation about the gray of the pixel.

    Args:
      generator: of the three factors, uniform in 1 - strength .. 1 + strength.
      image: uint8 [H, W, 3].
      strength: 0..1.

    Returns:
      uint8 [H, W, 3].
    """
    jittered = Image.fromarray(image)
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        jittered = enhance(jittered).enhance(generator.uniform(1 - strength, 1 + strength))
    return np.asarray(jittered)


def random_gamma(generator: np.random.Generator, image: np.ndarray, strength: float) -> np.ndarray:
    """Intensities, from 0 to 1, to the power of a random gamma.

    As in FRRN (Pohlen et al. 2017): gamma = log(1/2 + z / sqrt(2)) / log(1/2 - z / sqrt(2)), z
    uniform in -strength .. strength. -z gives 1 / gamma: darker is as likely as brighter.

    Args:
      generator: of z.
      image: uint8 [H, W, 3].
      strength: 0..0.5.

    Returns:
      uint8 [H, W, 3].
    """
    z = generator.uniform(-strength, strength) / math.sqrt(2)
    gamma = math.log(1 / 2 + z) / math.log(1 / 2 - z)
    return np.rint(255 * (np.arange(256) / 255) ** gamma).astype(np.uint8)[image]


def add_noise(generator: np.random.Generator, image: np.ndarray, deviation: float) -> np.ndarray:
    """Gaussian noise, another number for each pixel and channel.

    Args:
      generator: of the noise.
      image: uint8 [H, W, 3].
      deviation: standard deviation, in gray levels.

    Returns:
      uint8 [H, W, 3]; what leaves 0..255 is clipped.
    """
    noisy = image + generator.normal(0, deviation, image.shape)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
