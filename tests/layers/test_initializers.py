"""Initializers against JAX's own, which compile a program per shape."""

import functools

import jax
import numpy as np
import pytest

from reseg_jax.layers import initializers

SHAPES = [(7, 5), (3, 3, 4, 6), (3, 3, 40, 30), (300, 250)]  # over several sizes of draws


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (initializers.glorot_uniform, jax.nn.initializers.glorot_uniform()),
        (initializers.lecun_normal, jax.nn.initializers.lecun_normal()),
        (initializers.he_normal, jax.nn.initializers.he_normal()),
        (initializers.gaussian(0.1), jax.nn.initializers.normal(0.1)),
    ],
)
def test_equals_jax(ours, theirs, shape, key):
    np.testing.assert_allclose(ours(key, shape), theirs(key, shape), rtol=1e-6, atol=1e-7)


def test_a_transposed_convolution_reads_its_channels_only(key):
    theirs = jax.nn.initializers.he_normal(in_axis=2, out_axis=3, batch_axis=(0, 1))
    ours = functools.partial(initializers.he_normal, area=False)
    shape = (2, 2, 6, 5)
    np.testing.assert_allclose(ours(key, shape), theirs(key, shape), rtol=1e-6)


def test_orthonormal_matrices_differ_from_key_to_key(key):
    matrices = initializers.orthonormal(jax.random.split(key, 3), 5)
    np.testing.assert_allclose(
        matrices @ matrices.transpose(0, 2, 1), np.broadcast_to(np.eye(5), (3, 5, 5)), atol=1e-5
    )
    assert not np.allclose(matrices[0], matrices[1])
