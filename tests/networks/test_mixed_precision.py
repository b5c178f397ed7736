"""dtype=bfloat16: what is computed in it, what stays in float32, and that it still learns."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params

from reseg_jax import UserError, api
from reseg_jax.backbones.resnet import ResNet
from reseg_jax.layers.conv import Convolution, kernel_gradient
from reseg_jax.layers.conv_norm import ConvNorm
from reseg_jax.layers.norm import BatchNorm
from reseg_jax.networks.deconvnet import DeconvNetConfig
from reseg_jax.networks.fusionnet import FusionNetConfig
from reseg_jax.networks.segnet import SegNetConfig
from reseg_jax.recurrent.sweep import sweep
from reseg_jax.saving import config_from_dict, config_to_dict
from reseg_jax.training.losses import Loss
from tests.support import reference
from tests.support.networks import SMALL, images_of, random_variables

SIZE = (22, 27)
PRIMARY = ("reseg", "unet, same, batch norm")

every_network = pytest.mark.parametrize(
    "config",
    [
        pytest.param(config, id=label, marks=[pytest.mark.slow] * (label not in PRIMARY))
        for label, config in SMALL.items()
        if "fcn" not in label or config.backbone.trainable
    ],
)


def mixed(config):
    return dataclasses.replace(config, dtype="bfloat16")


def batch():
    images = images_of(2, SIZE)
    return images, np.minimum(images.mean(axis=-1) // 86, 2).astype(np.uint8)


def products(jaxpr):
    """Dtypes of what products and convolutions read, in a program and all inside it."""
    found = set()
    for equation in jaxpr.eqns:
        if equation.primitive.name in ("dot_general", "conv_general_dilated"):
            found.add(tuple(operand.aval.dtype.name for operand in equation.invars))
        for inner in jaxprs_in_params(equation.params):
            found |= products(inner)
    return found


def test_an_older_config_is_one_in_float32():
    values = config_to_dict(SMALL["fcn, 8s"])
    assert values.pop("dtype") == "float32"
    assert config_from_dict(values) == SMALL["fcn, 8s"]
    assert config_from_dict(config_to_dict(mixed(SMALL["fcn, 8s"]))).dtype == "bfloat16"
    with pytest.raises(UserError, match="dtype='float8'"):
        dataclasses.replace(SMALL["fcn, 8s"], dtype="float8")


DEEP = (DeconvNetConfig, FusionNetConfig, SegNetConfig, ResNet)


def test_a_normalized_convolution_rounds_only_its_product(key):
    x = np.random.default_rng(0).normal(size=(2, 6, 5, 4)).astype(np.float32)
    variables = ConvNorm(8).init(key, x, train=True)
    found, exact = (
        ConvNorm(8, dtype=dtype).apply(variables, x, train=True, mutable="batch_stats")
        for dtype in ("bfloat16", "float32")
    )
    assert found[0].dtype == jnp.bfloat16
    assert np.abs(np.float32(found[0]) - exact[0]).max() < 2**-6 * np.abs(exact[0]).max()
    assert {leaf.dtype.name for leaf in jax.tree.leaves(found[1])} == {"float32"}


@every_network
def test_it_learns_with_parameters_gradients_and_logits_in_float32(config):
    """And what it learns from is the float32 network's loss and gradient, but for rounding.

    bfloat16 keeps 8 bits. Errors of 2^-8 at each of some ten layers are 4 % if they add up.
    """
    config, variables = mixed(config), random_variables(config)
    images, labels = batch()

    def loss_of(config):
        def run(params):
            logits, updates = api.build(config).logits(
                {**variables, "params": params}, images, SIZE, train=True
            )
            return Loss()(logits, labels, np.ones(2, np.float32), params), (logits, updates)

        return jax.jit(jax.value_and_grad(run, has_aux=True))

    learn, params = loss_of(config), variables["params"]
    (loss, (logits, updates)), gradients = learn(params)
    assert {leaf.dtype.name for leaf in jax.tree.leaves((logits, updates, gradients))} == {
        "float32"
    }
    exact_config = dataclasses.replace(config, dtype="float32")
    (expected, (exact, _)), exact_gradients = loss_of(exact_config)(params)
    flat, exact_flat = (
        jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(tree)])
        for tree in (gradients, exact_gradients)
    )
    # Roundings of some twenty normalized layers over a handful of pixels are as large as what is
    # left of these: their layer has a test of its own below.
    if not any(isinstance(part, DEEP) for part in (config, config.backbone)):
        assert np.abs(logits - exact).max() < 0.04 * np.abs(exact).max()
        np.testing.assert_allclose(loss, expected, rtol=0.04)
        assert jnp.linalg.norm(flat - exact_flat) < 0.1 * jnp.linalg.norm(exact_flat)

    rate = 0.02 * loss / (flat**2).sum()  # a step along the gradient that lowers it by 2 %
    moved = jax.tree.map(lambda value, slope: value - rate * slope, params, gradients)
    assert learn(moved)[0][0] < loss


@every_network
def test_what_is_trained_multiplies_in_bfloat16(config):
    """But for the classifier, recurrences, and a frozen backbone."""
    variables, (images, _) = random_variables(config), batch()

    def run(config):
        return products(
            jax.make_jaxpr(lambda variables: api.apply(config, variables, images))(variables).jaxpr
        )

    assert run(config) == {("float32", "float32")}
    assert run(mixed(config)) - {("float32", "float32")} == {("bfloat16", "bfloat16")}


def test_there_must_be_something_to_compute_in_it():
    with pytest.raises(UserError, match=r"FCN's backbone.* backbone\.trainable=true"):
        mixed(SMALL["fcn, 16s, frozen VGG"])


@pytest.mark.parametrize("size", [(1, 1), (3, 3), (5, 5)])
@pytest.mark.parametrize("relu", [False, True])
def test_a_convolution_adds_its_bias_and_that_bias_gradient_in_float32(size, relu):
    """257 x 9 ones: in bfloat16 a sum of ones ends at 256."""
    layer = Convolution(1, size, relu=relu, dtype="bfloat16")
    params = {"kernel": jnp.zeros((*size, 1, 1)), "bias": jnp.ones(1)}
    x = jnp.ones((1, 257, 9, 1))
    y, pull = jax.vjp(lambda params: layer.apply({"params": params}, x), params)
    (gradient,) = pull(jnp.ones_like(y))
    assert y.dtype == jnp.bfloat16
    assert gradient["bias"].dtype == jnp.float32
    assert float(gradient["bias"][0]) == 257 * 9


def test_a_kernel_gradient_is_summed_in_float32():
    ones = jnp.ones((1, 515, 9, 1), jnp.bfloat16)
    found = kernel_gradient(ones, ones)
    assert found.dtype == jnp.bfloat16
    assert float(found[1, 1, 0, 0]) == pytest.approx(515 * 9, rel=2**-8)


def test_batch_statistics_are_in_float32():
    """Of numbers that bfloat16 knows, but whose mean it does not."""
    norm = BatchNorm(output_dtype="bfloat16", momentum=0.0, epsilon=0.0)
    x = jnp.asarray([1.0, 1.0078125], jnp.bfloat16).repeat(300).reshape(1, 20, 30, 1)
    y, changed = norm.init_with_output(jax.random.key(0), x, train=True)
    assert y.dtype == jnp.bfloat16
    assert {leaf.dtype.name for leaf in jax.tree.leaves(changed)} == {"float32"}
    y, changed = norm.apply(changed, x, train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(changed["batch_stats"]["mean"], 1 + 2**-8, rtol=1e-6)
    np.testing.assert_allclose(np.unique(np.asarray(y, np.float32)), [-1, 1], rtol=2**-7)


@pytest.mark.parametrize("cell", ["gru", "mingru"])
def test_a_sweep_rounds_what_it_reads_and_keeps_its_state(cell):
    """It is the float32 sweep of rounded lines and a rounded input kernel."""
    rng = np.random.default_rng(0)
    params = jax.tree.map(jnp.float32, reference.random_direction(rng, 5, 4, cell))
    lines = jnp.float32(rng.normal(size=(7, 3, 5)))

    def rounded(x):
        return x.astype(jnp.bfloat16).astype(jnp.float32)

    def total(params, lines, **how):
        return (sweep(params, lines, cell, **how) ** 2).sum()

    gradient = jax.jit(jax.value_and_grad(total, (0, 1)), static_argnames="dtype")
    found = gradient(params, lines, dtype="bfloat16")
    read = params | {"input_kernel": rounded(params["input_kernel"])}
    expected = gradient(read, rounded(lines), dtype=None)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-6)
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert ours.dtype == jnp.float32
        np.testing.assert_allclose(ours, theirs, atol=0.02 * np.abs(theirs).max())
