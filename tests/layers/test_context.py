"""The context module: what it sees, how it begins, and its layers in plain loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reseg_jax.layers.context import DILATIONS, FORMS, ContextModule, block_identity
from tests.support import reference_layers
from tests.support.reference import assert_close


def receptive_field(module, side):
    """Cells along each axis that the middle one of the result depends on, all weights positive."""
    x = jnp.ones((1, side, side, module.classes))
    variables = jax.tree.map(jnp.ones_like, module.init(jax.random.key(0), x))

    def middle(x):
        return module.apply(variables, x)[0, side // 2, side // 2].sum()

    seen = np.asarray(jax.grad(middle)(x))[0].sum(axis=-1) > 0
    extent = [np.flatnonzero(seen.any(axis=axis)) for axis in (0, 1)]
    return tuple(int(found[-1] - found[0] + 1) for found in extent)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dilations", "fields"),
    [
        (DILATIONS, (3, 5, 9, 17, 33, 65, 67)),  # table 1; its eighth layer is 1x1
        ((1, 2, 4), (3, 7, 15)),  # figure 1
    ],
)
def test_receptive_fields_of_the_paper(dilations, fields):
    for count, field in enumerate(fields, start=1):
        module = ContextModule(1, (1,) * count, dilations[:count])
        assert receptive_field(module, 2 * (field // 2) + 5) == (field, field)


def module_of(form, classes, noise=None):
    widths, published = FORMS[form]
    return ContextModule(classes, widths, noise=published if noise is None else noise)


def test_the_basic_module_begins_as_the_identity():
    """Exactly, of what is not negative; its maximum takes the rest."""
    x = np.random.default_rng(0).normal(size=(2, 9, 7, 3)).astype(np.float32)
    y, _ = module_of("basic", 3).init_with_output(jax.random.key(0), x)
    np.testing.assert_array_equal(y, np.maximum(x, 0))


def test_the_large_module_begins_as_a_32nd_of_it_and_noise(key):
    """In 32 maps per class, whose largest class stays the largest."""
    x = np.random.default_rng(0).uniform(size=(1, 9, 7, 3)).astype(np.float32)
    y, _ = module_of("large", 3, noise=0.0).init_with_output(key, x)
    assert_close(y, np.repeat(x, 32, axis=-1) / 32, 1e-6)
    _, variables = module_of("large", 3).init_with_output(key, x)
    first = np.asarray(variables["params"]["layer_1"]["kernel"])
    assert 0 < np.abs(first[0]).max() < 0.1 * 3 / 6


def test_block_identity_by_hand(key):
    """Two classes, two maps in and four out: C / max(2, 4) where classes agree."""
    kernel = np.asarray(block_identity(2)(key, (3, 3, 2, 4)))
    assert not kernel[np.arange(9).reshape(3, 3) != 4].any()
    np.testing.assert_array_equal(kernel[1, 1], [[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]])
    np.testing.assert_array_equal(
        block_identity(2)(key, (4, 2)), [[0.5, 0], [0.5, 0], [0, 0.5], [0, 0.5]]
    )


@pytest.mark.parametrize(
    ("form", "classes", "published"),
    [
        ("basic", 11, 7_832),
        ("large", 11, 1_867_129),
        ("basic", 21, 28_392),
        ("large", 21, 6_803_139),
    ],
)
def test_number_of_parameters(form, classes, published):
    """With the eighth layer, 1x1, which is the network's classifier."""
    module, x = module_of(form, classes), jax.ShapeDtypeStruct((1, 4, 4, classes), jnp.float32)
    shapes = jax.eval_shape(module.init, jax.random.key(0), x)
    last = (module.widths[-1] * classes + 1) * classes
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) + last == published


def test_it_equals_the_loops(key):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1, 6, 9, 2)).astype(np.float32)
    module = ContextModule(2, (2, 1, 3), (1, 2, 4))
    variables = jax.tree.map(
        lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), module.init(key, x)
    )
    expected = x
    for i, dilation in enumerate(module.dilations, start=1):
        layer = variables["params"][f"layer_{i}"]
        expected = reference_layers.convolution(expected, layer["kernel"], dilation=dilation)
        expected = np.maximum(expected + layer["bias"], 0)
    assert_close(module.apply(variables, x), expected, 1e-5)
