"""Transposed convolution, filter = stride: the loop, JAX's own layer, and their gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from reseg_jax.layers.upsample import TransposedConv, arrange, paint
from tests.support import reference
from tests.support.reference import assert_close

SIZES = [(2, 2), (1, 3), (3, 2)]


def case(size, seed=0):
    rng = np.random.default_rng(seed)
    shapes = (2, 3, 5, 4), (*size, 4, 6), (6,)
    return [rng.normal(size=shape).astype(np.float32) for shape in shapes]


def transposed_conv(x, kernel, bias):
    return arrange(paint(x, kernel, bias))


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
    found = arrange(layer.apply({"params": params}, x))
    linear = reference.transposed_conv(x, params["kernel"], bias)
    assert (linear < 0).any()
    assert_close(found, np.maximum(linear, 0), 1e-6)
