"""Dilated convolutions as products: plain loops, and XLA's gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reseg_jax.layers.conv import Convolution, _direct
from reseg_jax.layers.dilated_conv import by_products
from tests.support import reference_layers
from tests.support.reference import assert_close


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize(("h", "w", "dilation"), [(3, 3, 2), (3, 1, 4), (5, 3, 3)])
def test_it_equals_the_loops(h, w, dilation, padding):
    x, kernel = drawn(2, 14, 11, 3), drawn(h, w, 3, 4, seed=1)
    expected = reference_layers.convolution(x, kernel, padding, dilation)
    assert_close(by_products(x, kernel, padding, dilation), expected, 1e-5)


@pytest.mark.parametrize(("size", "dilation"), [(4, 4), (4, 3), (3, 12)])
def test_even_kernels_are_padded_as_xla_does_it(size, dilation):
    """The extra zeros of an odd number are at the end; a rate may reach beyond the image."""
    x, kernel = drawn(1, 9, 8, 2), drawn(size, size, 2, 3, seed=1)
    found = by_products(x, kernel, "SAME", dilation)
    assert_close(found, np.asarray(_direct(x, kernel, "SAME", dilation)), 1e-5)


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
def test_gradients_of_any_order_are_those_of_the_convolution(padding):
    x, kernel = drawn(1, 8, 9, 2), drawn(3, 3, 2, 2, seed=1)
    layer = Convolution(2, padding=padding, dilation=2, use_bias=False)

    def total(x, kernel):
        return (layer.apply({"params": {"kernel": kernel}}, x) ** 3).sum()

    def expected(x, kernel):
        return (_direct(x, kernel, padding, 2) ** 3).sum()

    def second(function):
        return lambda x, kernel: (jax.grad(function)(x, kernel) ** 2).sum()

    for ours, theirs in ((total, expected), (second(total), second(expected))):
        found = jax.jit(jax.grad(ours, (0, 1)))(x, kernel)
        for a, b in zip(found, jax.grad(theirs, (0, 1))(x, kernel), strict=True):
            assert_close(a, np.asarray(b), 1e-4)


def test_sixteen_bits_are_added_up_in_more():
    """257 ones per entry: a product of each entry by itself would be rounded to 256."""
    layer = Convolution(1, dilation=2, padding="VALID", use_bias=False, dtype="bfloat16")
    kernel = {"params": {"kernel": jnp.ones((3, 3, 257, 1))}}
    found = layer.apply(kernel, jnp.ones((1, 5, 5, 257)))
    assert float(found[0, 0, 0, 0]) == pytest.approx(257 * 9, rel=2**-8)
