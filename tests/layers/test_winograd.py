"""Minimal filtering against sums in plain loops, and against the matrices' own definition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reseg_jax.layers import winograd
from tests.support import reference_layers
from tests.support.reference import assert_close

# One tile; tiles that end beyond the image; strips that overlap; several rows of tiles in a strip,
# and one; two images.
SIZES = [(4, 4), (5, 4), (9, 13), (45, 7), (8, 160), (37, 18)]


def case(size, batch=2, channels=3, features=2):
    rng = np.random.default_rng(0)
    shapes = (batch, *size, channels), (3, 3, channels, features), (batch, *size, features)
    return [rng.normal(size=shape).astype(np.float32) for shape in shapes]


def minimal(x, kernel, *rest, **options):
    return winograd.convolve(jnp.asarray(x), winograd.transform_kernel(kernel), *rest, **options)


def gradient_of_kernel(x, dy):
    """dK[a, b] = sum of x[i + a - 1, j + b - 1]^T dy[i, j], float64."""
    height, width = x.shape[1:3]
    x = np.pad(x.astype(np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)))
    found = np.zeros((3, 3, x.shape[-1], dy.shape[-1]))
    for a in range(3):
        for b in range(3):
            shifted = x[:, a : a + height, b : b + width]
            found[a, b] = np.einsum("bhwc,bhwf->cf", shifted, dy)
    return found


def test_a_filter_by_hand():
    """A kernel whose only entry is the one at the center copies, one at the corner shifts."""
    x = np.arange(32, dtype=np.float32).reshape(1, 8, 4, 1)
    center, corner = np.zeros((2, 3, 3, 1, 1), np.float32)
    center[1, 1], corner[0, 0] = 1, 1
    assert_close(minimal(x, center), x, 1e-6)
    shifted = np.pad(x, ((0, 0), (1, 0), (1, 0), (0, 0)))[:, :-1, :-1]
    assert_close(minimal(x, corner), shifted, 1e-6)


@pytest.mark.parametrize("size", SIZES)
def test_the_sum_over_the_window(size):
    x, kernel, _ = case(size)
    assert_close(minimal(x, kernel), reference_layers.convolution(x, kernel), 1e-5)


@pytest.mark.parametrize("size", [(8, 4), (12, 18)])
@pytest.mark.parametrize("pool", [False, True])
def test_what_follows_in_the_same_pass(size, pool):
    x, kernel, _ = case(size)
    bias = np.asarray([0.5, -0.25], np.float32)
    expected = np.maximum(reference_layers.convolution(x, kernel) + bias, 0)
    expected = reference_layers.max_pool(expected) if pool else expected
    assert_close(minimal(x, kernel, bias, relu=True, pool=pool), expected, 1e-5)


@pytest.mark.parametrize("size", SIZES)
def test_the_gradient_of_the_kernel(size):
    x, _, dy = case(size)
    found = winograd.kernel_gradient(jnp.asarray(x), jnp.asarray(dy))
    assert_close(found, gradient_of_kernel(x, dy), 1e-5)


@pytest.mark.parametrize("function", ["convolve", "kernel_gradient"])
def test_rows_of_other_devices(function):
    """The lower part of an image, told the row above it, is that part of the whole."""
    x, kernel, dy = case((16, 6))
    upper, lower = (
        {"below": x[:, 8:9]},
        {"above": x[:, 7:8]},
    )
    if function == "convolve":
        expected = reference_layers.convolution(x, kernel)
        assert_close(minimal(x[:, :8], kernel, **upper), expected[:, :8], 1e-5)
        assert_close(minimal(x[:, 8:], kernel, **lower), expected[:, 8:], 1e-5)
    else:
        parts = [
            winograd.kernel_gradient(jnp.asarray(x[:, rows]), jnp.asarray(dy[:, rows]), **known)
            for rows, known in ((slice(8), upper), (slice(8, 16), lower))
        ]
        assert_close(sum(parts), gradient_of_kernel(x, dy), 1e-5)


@pytest.mark.parametrize("channels", [64, 512])
def test_errors_stay_below_the_bound(channels):
    """2e-5 of the largest output in float32, at the numbers of channels that VGG has."""
    x, kernel, dy = case((12, 12), 1, channels, 8)
    x, dy = np.maximum(x, 0), dy / 100  # as after a ReLU, whose mean is not zero
    for found, expected in (
        (minimal(x, kernel), reference_layers.convolution(x, kernel)),
        (winograd.kernel_gradient(jnp.asarray(x), jnp.asarray(dy)), gradient_of_kernel(x, dy)),
    ):
        assert np.abs(found - expected).max() <= 2e-5 * np.abs(expected).max()


def test_the_kernel_s_transform_is_that_of_the_paper():
    """Equation 8: G K G^T, of each channel by itself."""
    _, kernel, _ = case((4, 4))
    found = np.stack(winograd.transform_kernel(kernel), axis=1)  # [P, P, C, F]
    for channel in range(3):
        for feature in range(2):
            expected = winograd._G @ kernel[:, :, channel, feature] @ winograd._G.T
            assert_close(found[:, :, channel, feature], expected, 1e-6)


@pytest.mark.parametrize("height", [3, 4])
def test_what_has_no_whole_tile_does_not_fit(height):
    assert winograd.fits(height, 4) is winograd.fits(4, height) is (height == 4)


def test_images_are_batched_by_vmap():
    x, kernel, _ = case((9, 5), 2)
    found = jax.vmap(lambda image: minimal(image[None], kernel)[0])(jnp.asarray(x))
    assert_close(found, reference_layers.convolution(x, kernel), 1e-5)
