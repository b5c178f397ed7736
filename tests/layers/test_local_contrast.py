"""Local contrast normalization against its definition, pixel by pixel in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reseg_jax.backbones.preprocessing import preprocess
from reseg_jax.layers.local_contrast import divide, subtract
from tests.support.reference import assert_close

SIZES = [(13, 11), (5, 30), (1, 1)]  # larger and smaller than the window


def neighborhood_mean(x):
    """[H, W]: sums over the 9x9 window within the image, over the sum of the weights there."""
    height, width = x.shape
    mean = np.empty((height, width))
    for i in range(height):
        for j in range(width):
            total = weights = 0.0
            for a in range(max(0, i - 4), min(height, i + 5)):
                for b in range(max(0, j - 4), min(width, j + 5)):
                    weight = np.exp(-((a - i) ** 2 + (b - j) ** 2) / (2 * 2.0**2))
                    total, weights = total + weight * x[a, b], weights + weight
            mean[i, j] = total / weights
    return mean


def expected(images, divisive):
    out = np.empty(images.shape)
    for b in range(images.shape[0]):
        for c in range(images.shape[3]):
            x = images[b, :, :, c].astype(np.float64)
            v = x - neighborhood_mean(x)
            if divisive:
                deviation = np.sqrt(neighborhood_mean(v**2))
                divisor = np.maximum(deviation.mean(), deviation)
                v = np.divide(v, divisor, out=np.zeros_like(v), where=divisor > 0)
            out[b, :, :, c] = v
    return out


def photo(size, seed=0):
    """Two images with a flat left half: the mean deviation and the local one both matter."""
    images = np.random.default_rng(seed).integers(0, 256, (2, *size, 3)).astype(np.float32)
    images[:, :, : size[1] // 2] = 90
    return images


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("function", [subtract, divide])
def test_equals_the_loops(function, size):
    images = photo(size)
    found = jax.jit(function)(images)
    assert found.dtype == np.float32
    if size == (1, 1):
        assert (found == 0).all()
    else:
        assert_close(found, expected(images, function is divide), 1e-5)


@pytest.mark.parametrize("value", [0, 0.1, 200])
@pytest.mark.parametrize("function", [subtract, divide])
def test_a_constant_image_gives_exactly_0(function, value):
    images = np.full((1, 31, 17, 3), value, np.float32)
    images[..., 1] += 3
    assert (jax.jit(function)(images) == 0).all()


def test_only_contrast_remains():
    """Brightness does not matter to either, nor does the range to the divisive form."""
    images = photo((20, 20))
    brighter = images + np.float32([10, 0, -30])
    assert_close(subtract(brighter), np.asarray(subtract(images)), 1e-5)
    assert_close(divide(0.5 * brighter), np.asarray(divide(images)), 1e-5)
    assert_close(subtract(0.5 * images), 0.5 * np.asarray(subtract(images)), 1e-5)


def test_the_divisive_form_has_no_large_deviation_anywhere():
    found = np.asarray(divide(photo((40, 40))), np.float64)
    local = np.sqrt(neighborhood_mean(found[0, ..., 0] ** 2))
    assert local.max() < 1.3
    assert local[:, 25:].mean() > 0.7


# By hand: torchvision's published deviations, and what each network reads.
STD = np.array([0.229, 0.224, 0.225])
ENTERED = {
    ("caffe", "subtractive"): lambda v: v[..., ::-1],
    ("torchvision", "subtractive"): lambda v: v / (255 * STD),
    ("unit", "subtractive"): lambda v: v / 255,
    ("caffe", "divisive"): lambda v: (v * 255 * STD)[..., ::-1],
    ("torchvision", "divisive"): lambda v: v,
    ("unit", "divisive"): lambda v: v,
}


@pytest.mark.parametrize(("name", "contrast"), ENTERED)
def test_contrast_enters_a_network_in_its_units(name, contrast):
    pixels = photo((6, 7)).astype(np.uint8)
    found = preprocess(jnp.asarray(pixels), name, contrast)
    assert found.dtype == np.float32
    assert_close(found, ENTERED[name, contrast](expected(pixels, contrast == "divisive")), 1e-5)
