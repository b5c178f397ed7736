"""FRRN: its units in plain loops, what a unit that adds nothing leaves, published counts."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reseg_jax import api
from reseg_jax.backbones.vgg import VGG16
from reseg_jax.errors import UserError
from reseg_jax.layers.frru import FullResolutionResidualUnit, ResidualUnit
from reseg_jax.networks.frrn import FRRNConfig
from tests.support import reference_layers
from tests.support.networks import SMALL, images_of, random_variables
from tests.support.reference import assert_close


def randomized(variables):
    """Variables in which nothing is 0 and every variance is positive."""
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda leaf: rng.uniform(0.2, 1, leaf.shape).astype(np.float32) - 0.5 * (leaf.ndim > 1),
        variables,
    )


def normalized(x, variables, name):
    """Convolution without a bias, and normalization by running statistics."""
    params, stats = variables["params"][name], variables["batch_stats"][name]["norm"]
    x = reference_layers.convolution(x, params["conv"]["kernel"])
    norm = params["norm"]
    return reference_layers.batch_norm(
        x, norm["scale"], norm["bias"], np.float64(stats["mean"]), np.float64(stats["var"])
    )[0]


def streams():
    """y [2, 2, 3, 4] and z [2, 8, 12, 2]."""
    rng = np.random.default_rng(1)
    return (rng.normal(size=shape).astype(np.float32) for shape in ((2, 2, 3, 4), (2, 8, 12, 2)))


def test_a_residual_unit_equals_the_loops(key):
    x = np.random.default_rng(0).normal(size=(2, 5, 4, 3)).astype(np.float32)
    unit = ResidualUnit()
    variables = randomized(unit.init(key, x, train=False))
    inner = np.maximum(normalized(x, variables, "first"), 0)
    expected = x + normalized(inner, variables, "second")
    assert_close(unit.apply(variables, jnp.asarray(x), train=False), expected, 1e-5)


def test_a_full_resolution_unit_equals_the_loops(key):
    y, z = streams()
    unit = FullResolutionResidualUnit(5)
    variables = randomized(unit.init(key, y, z, train=False))
    pooled = np.zeros((2, 2, 3, 2))
    for i in range(2):
        for j in range(3):
            pooled[:, i, j] = z[:, 4 * i : 4 * i + 4, 4 * j : 4 * j + 4].max(axis=(1, 2))
    inner = np.maximum(normalized(np.concatenate([y, pooled], axis=-1), variables, "first"), 0)
    expected_y = np.maximum(normalized(inner, variables, "second"), 0)
    residual = variables["params"]["residual"]
    expected_z = np.float64(z)
    for i in range(8):
        for j in range(12):
            cell = expected_y[:, i // 4, j // 4]
            expected_z[:, i, j] += cell @ residual["kernel"][0, 0] + residual["bias"]
    found_y, found_z = unit.apply(variables, jnp.asarray(y), jnp.asarray(z), train=False)
    assert_close(found_y, expected_y, 1e-5)
    assert_close(found_z, expected_z, 1e-5)


def test_a_unit_that_adds_nothing_leaves_the_residual_stream(key):
    y, z = streams()
    unit = FullResolutionResidualUnit(5)
    variables = randomized(unit.init(key, y, z, train=False))
    variables["params"]["residual"] = jax.tree.map(np.zeros_like, variables["params"]["residual"])
    np.testing.assert_array_equal(unit.apply(variables, y, z, train=False)[1], z)


def test_without_its_units_the_pooling_stream_says_nothing_of_neighbors():
    """If nothing is added to z and `join` reads z only, logits see what the start and end do.

    Those are one 5x5 and twelve 3x3 convolutions: 14 pixels to each side.
    """
    config = SMALL["frrn"]
    variables = random_variables(config)
    params = variables["params"]
    for name, unit in params.items():
        if "residual" in unit:
            params[name] = unit | {"residual": jax.tree.map(np.zeros_like, unit["residual"])}
    pooled = params["join"]["kernel"].shape[2] - config.residual_channels
    images = images_of(1, (16, 40))
    changed = images.copy()
    changed[:, :, :4] = 255 - changed[:, :, :4]

    def reach():
        """Columns of which the logits change."""
        before, after = (np.asarray(api.apply(config, variables, x)) for x in (images, changed))
        return np.flatnonzero(np.abs(after - before).max(axis=(0, 1, 3)))

    params["join"]["kernel"][:, :, :pooled] = 0
    assert reach().max() == 3 + 14


@pytest.mark.parametrize(
    ("config", "classes", "count"),
    [
        (FRRNConfig, 11, 17_711_787),
        (FRRNConfig, 21, 17_712_277),
        (FRRNConfig.b, 11, 24_720_683),
        (FRRNConfig.b, 21, 24_721_173),
    ],
)
def test_published_parameter_counts(config, classes, count):
    """/param_counts: 17.7 M in the paper; the slides' unit more would be 18.1 M."""
    init = functools.partial(api.init, config(num_classes=classes))
    params = jax.eval_shape(init, jax.random.key(0))["params"]
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == count


@pytest.mark.parametrize(
    ("changes", "reported"),
    [
        ({"backbone": VGG16()}, "FRRN reads the pixels"),
        ({"decoder": ((2, 192),)}, "encoder has 4 levels and decoder 1: give decoder one less"),
        ({"residual_channels": 0}, "all numbers at least 1"),
        ({"decoder": ((2, 192), (2, 192), (2,))}, "stages are pairs"),
    ],
)
def test_what_it_cannot_be(changes, reported):
    with pytest.raises(UserError, match=reported):
        FRRNConfig(**changes)
