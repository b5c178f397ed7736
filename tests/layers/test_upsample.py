"""Transposed convolutions: the loops, JAX's own layer, gradients; and the bilinear kernel."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from scipy import ndimage

from reseg_jax.layers import upsample
from reseg_jax.layers.upsample import (
    OverlappingTransposedConv,
    TransposedConv,
    align_corners_upsample,
    bilinear_kernel,
    bilinear_upsample,
    depth_to_space,
    nearest_upsample,
    overlapping_transposed_conv,
)
from tests.support import reference, reference_layers
from tests.support.reference import assert_close

SIZES = [(2, 2), (1, 3), (3, 2)]


def case(size, seed=0):
    rng = np.random.default_rng(seed)
    shapes = (2, 3, 5, 4), (*size, 4, 6), (6,)
    return [rng.normal(size=shape).astype(np.float32) for shape in shapes]


def transposed_conv(x, kernel, bias):
    return depth_to_space(upsample.transposed_conv(x, kernel, bias))


def lax_transposed_conv(x, kernel, bias):
    """JAX's gradient-of-a-convolution layer; it wants the channels in a convolution's order."""
    out = lax.conv_transpose(
        x, kernel.swapaxes(2, 3), kernel.shape[:2], "VALID", transpose_kernel=True
    )
    return out + bias[None, None, None]


def test_painting_by_hand():
    """One cell of value 2 paints twice the filter, plus the bias, row by row."""
    kernel = np.float32([[1, 2], [3, 4]]).reshape(2, 2, 1, 1)
    painted = transposed_conv(np.full((1, 1, 1, 1), 2.0, np.float32), kernel, np.float32([10]))
    np.testing.assert_array_equal(painted[0, :, :, 0], [[12, 14], [16, 18]])


@pytest.mark.parametrize("size", [(3, 5), (5, 9), (4, 7), (3, 6)])
def test_corners_stay_corners_as_scipy_has_them(size):
    x = case((1, 1))[0]
    factors = (1, size[0] / 3, size[1] / 5, 1)
    expected = ndimage.zoom(np.float64(x), factors, order=1, grid_mode=False)
    assert_close(align_corners_upsample(jnp.asarray(x), size), expected, 1e-6)


def test_one_cell_is_everywhere():
    x = jnp.asarray([[[[2.0, -3.0]]]])
    found = align_corners_upsample(x, (2, 3))
    np.testing.assert_array_equal(found, np.broadcast_to(x, (1, 2, 3, 2)))


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_cells_are_repeated_as_numpy_does(factor):
    x = case((1, 1))[0]
    expected = x.repeat(factor, axis=1).repeat(factor, axis=2)
    np.testing.assert_array_equal(nearest_upsample(x, factor), expected)


@pytest.mark.parametrize("size", SIZES)
def test_equals_the_loop(size):
    arguments = case(size)
    assert_close(transposed_conv(*arguments), reference.transposed_conv(*arguments), 1e-6)


@pytest.mark.parametrize("size", SIZES)
def test_value_and_gradient_equal_those_of_lax(size):
    arguments = case(size)
    weights = case(size, seed=1)[0].mean() + np.arange(6, dtype=np.float32)

    def loss(layer, arguments):
        return jnp.sum(jnp.tanh(layer(*arguments)) * weights[None, None, None])

    found, expected = (
        jax.jit(jax.value_and_grad(lambda a, layer=layer: loss(layer, a)))(arguments)
        for layer in (transposed_conv, lax_transposed_conv)
    )
    jax.tree.map(lambda a, b: assert_close(a, b, 1e-5), found, expected)


def test_is_the_transpose_of_the_strided_convolution():
    """Section 3.2: "transposed" is meant literally. <conv(y), x> = <y, transposed(x)>."""
    x, kernel, _ = case((2, 3))
    y = np.zeros((2, 6, 15, 6), np.float32)

    def strided(y):
        dimensions = ("NHWC", "HWOI", "NHWC")
        return lax.conv_general_dilated(y, kernel, (2, 3), "VALID", dimension_numbers=dimensions)

    (expected,) = jax.vjp(strided, y)[1](x)
    assert_close(transposed_conv(x, kernel, np.zeros(6, np.float32)), expected, 1e-6)


def test_layer_is_the_function_and_a_relu(key):
    x, _, bias = case((2, 3))
    layer = TransposedConv(6, (2, 3))
    params = layer.init(key, x)["params"]
    assert jax.tree.map(jnp.shape, params) == {"kernel": (2, 3, 4, 6), "bias": (6,)}
    params["bias"] = bias
    found = depth_to_space(layer.apply({"params": params}, x))
    linear = reference.transposed_conv(x, params["kernel"], bias)
    assert (linear < 0).any()
    assert_close(found, np.maximum(linear, 0), 1e-6)


# --- filters twice as large as the stride ---------------------------------------------------------


def overlapping_case(factor, seed=0):
    rng = np.random.default_rng(seed)
    shapes = (2, 3, 4, 3), (2 * factor, 2 * factor, 3, 5)
    return [rng.normal(size=shape).astype(np.float32) for shape in shapes]


@pytest.mark.parametrize("factor", [1, 2, 3, 4])
def test_overlapping_squares_equal_the_loops(factor):
    x, kernel = overlapping_case(factor)
    found = overlapping_transposed_conv(x, kernel)
    assert found.shape == (2, 4 * factor, 5 * factor, 5)
    assert_close(found, reference_layers.painted(x, kernel, factor), 1e-6)


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_overlapping_is_the_transpose_of_the_strided_convolution(factor):
    x, kernel = overlapping_case(factor)
    y = np.zeros((2, 4 * factor, 5 * factor, 5), np.float32)

    def strided(y):
        dimensions = ("NHWC", "HWOI", "NHWC")
        return lax.conv_general_dilated(
            y, kernel, (factor, factor), "VALID", dimension_numbers=dimensions
        )

    (expected,) = jax.vjp(strided, y)[1](x)
    assert_close(overlapping_transposed_conv(x, kernel), expected, 1e-6)


def test_gradients_of_the_overlapping_one_equal_those_of_lax():
    x, kernel = overlapping_case(2)

    def by_lax(x, kernel):
        return lax.conv_transpose(x, kernel.swapaxes(2, 3), (2, 2), "VALID", transpose_kernel=True)

    found, expected = (
        jax.grad(lambda *pair, layer=layer: jnp.sum(jnp.sin(layer(*pair))), argnums=(0, 1))(
            jnp.asarray(x), jnp.asarray(kernel)
        )
        for layer in (overlapping_transposed_conv, by_lax)
    )
    jax.tree.map(lambda a, b: assert_close(a, b, 1e-5), found, expected)


@pytest.mark.parametrize(
    ("size", "line"),  # by hand
    [
        (2, [1, 0]),
        (4, [1 / 4, 3 / 4, 3 / 4, 1 / 4]),
        (5, [1 / 3, 2 / 3, 1, 2 / 3, 1 / 3]),
        (6, [1 / 3, 2 / 3, 1, 2 / 3, 1 / 3, 0]),
        (8, np.array([1, 3, 5, 7, 7, 5, 3, 1]) / 8),
    ],
)
def test_bilinear_kernel_by_hand(size, line):
    found = bilinear_kernel(size)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, np.outer(line, line), rtol=1e-6)


FACTORS = [1, 2, 3, 4, 8]


@pytest.mark.parametrize("factor", FACTORS)
def test_bilinear_upsampling_is_its_transposed_convolution(factor):
    x, _ = overlapping_case(1)
    kernel = bilinear_kernel(2 * factor)[..., None, None] * np.eye(3)
    frame = reference_layers.painted(x, kernel, factor)
    assert_close(bilinear_upsample(x, factor, full=True), frame, 1e-6)
    start = factor // 2
    cropped = frame[:, start : start + 3 * factor, start : start + 4 * factor]
    assert_close(jax.jit(bilinear_upsample, static_argnums=1)(x, factor), cropped, 1e-6)


@pytest.mark.parametrize("factor", FACTORS)
def test_bilinear_upsampling_aligns_pixel_centers(factor):
    """Away from the border it is `jax.image.resize`, which aligns them."""
    x, _ = overlapping_case(1)
    expected = jax.image.resize(x, (2, 3 * factor, 4 * factor, 3), "linear")
    within = slice(factor // 2, -(factor // 2) or None)
    found = bilinear_upsample(x, factor)[:, within, within]
    assert_close(found, np.asarray(expected)[:, within, within], 1e-5)


@pytest.mark.parametrize("factor", [2, 3, 4])
@pytest.mark.parametrize("channels", [2, 3, 4])
def test_the_layer_begins_as_bilinear_upsampling(factor, channels, key):
    x, _ = overlapping_case(1)
    for crop, full in ((None, False), ("full", True)):
        layer = OverlappingTransposedConv(channels, factor, crop)
        found, variables = layer.init_with_output(key, x)
        shape = (2 * factor, 2 * factor, 3, channels)
        assert jax.tree.map(jnp.shape, variables) == {"params": {"kernel": shape}}
        expected = np.zeros((*bilinear_upsample(x, factor, full).shape[:3], channels))
        shared = min(3, channels)
        expected[..., :shared] = bilinear_upsample(x, factor, full)[..., :shared]
        assert_close(found, expected, 1e-6)


def test_the_layer_crops_what_is_painted():
    """FCN's frame of (H - 1) f + 2 f pixels, from which f / 2 are cropped on each side."""
    x, kernel = overlapping_case(4)
    frame = reference_layers.painted(x, kernel, 4)
    assert frame.shape == (2, (3 - 1) * 4 + 8, (4 - 1) * 4 + 8, 5)
    variables = {"params": {"kernel": kernel}}
    assert_close(OverlappingTransposedConv(5, 4, "full").apply(variables, x), frame, 1e-6)
    assert_close(OverlappingTransposedConv(5, 4).apply(variables, x), frame[:, 2:-2, 2:-2], 1e-6)
