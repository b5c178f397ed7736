"""FLOPs by hand, and of the paper's network against the published counts."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import pallas as pl

from reseg_jax import api, devices, flops
from reseg_jax.networks.reseg import ReSegConfig
from reseg_jax.recurrent.execution import Execution
from reseg_jax.recurrent.renet import renet_layer

A, B = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in [(3, 5), (5, 7)])
PRODUCT = 2 * 3 * 5 * 7


def looped(a, b):
    """Eleven products, one after the other."""
    body = lambda carry, _: (carry + a @ b, None)  # noqa: E731
    return jax.lax.scan(body, jnp.zeros((3, 7)), length=11)[0]


@jax.custom_vjp
def product(a, b):
    return a @ b


product.defvjp(lambda a, b: (a @ b, (a, b)), lambda saved, d: (d @ saved[1].T, saved[0].T @ d))


def loss(function):
    return lambda a, b: function(a, b).sum()


@pytest.mark.parametrize(
    ("function", "products"),
    [
        (jnp.matmul, 1),
        (jax.jit(jnp.matmul), 1),
        (product, 1),
        (jax.checkpoint(jnp.matmul), 1),
        (lambda a, b: jnp.tanh(a @ b) + 1, 1),
        (looped, 11),
        (lambda a, b: jax.lax.fori_loop(0, 4, lambda _, c: c + a @ b, jnp.zeros((3, 7))), 4),
        (lambda a, b: jax.lax.cond(a[0, 0] > 0, lambda: 2 * looped(a, b), lambda: a @ b), 11),
        (lambda a, b: jax.lax.while_loop(lambda c: c.sum() < 9, lambda c: c + a @ b, a @ b), 2),
        # One gradient, and the product itself if something after it needs it.
        (jax.grad(loss(product), 0), 1),
        (jax.grad(loss(product), (0, 1)), 2),
        (jax.grad(loss(lambda a, b: jnp.tanh(a @ b)), (0, 1)), 3),
        (jax.grad(loss(jax.jit(product)), 1), 1),
        (lambda a, b: jax.jit(lambda a, b: (a @ b, a.sum()))(a, b)[1], 0),
    ],
)
def test_products_by_hand(function, products):
    assert flops.count(function, A, B) == products * PRODUCT


def test_arrays_and_batches_are_counted_too():
    assert flops.count(jnp.matmul, np.ones((4, 3, 5)), np.ones((4, 5, 7))) == 4 * PRODUCT


def test_a_kernel_counts_once_per_program():
    def add_product(a, b, out):
        out[...] += a[...] @ b[...]

    summed = jax.ShapeDtypeStruct((3, 7), jnp.float32)
    kernel = pl.pallas_call(add_product, out_shape=summed, grid=(4, 2))
    assert flops.count(kernel, A, B) == 8 * PRODUCT


def convolution(x, kernel, groups=1, **how):
    how = {"window_strides": (1, 1), "padding": "SAME"} | how
    numbers = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(
        x, kernel, dimension_numbers=numbers, feature_group_count=groups, **how
    )


def test_convolutions_by_hand():
    """6x8 pixels, 4 channels to 10 by a 3x3 window: 9 x 4 products per pixel and channel."""
    x = jax.ShapeDtypeStruct((2, 6, 8, 4), jnp.float32)
    kernel = jax.ShapeDtypeStruct((3, 3, 4, 10), jnp.float32)
    whole = 2 * (2 * 6 * 8) * 10 * (9 * 4)
    assert flops.count(convolution, x, kernel) == whole
    halved = functools.partial(convolution, window_strides=(2, 2))
    assert flops.count(halved, x, kernel) == whole // 4
    each = jax.ShapeDtypeStruct((3, 3, 1, 4), jnp.float32)
    assert flops.count(functools.partial(convolution, groups=4), x, each) == 2 * 2 * 48 * 4 * 9
    gradient = jax.grad(lambda x, kernel: convolution(x, kernel).sum(), (0, 1))
    assert flops.count(gradient, x, kernel) == 2 * whole
    # Backwards through a stride, as much as forwards: the zeros put between do not count.
    gradient = jax.grad(lambda x, kernel: halved(x, kernel).sum())
    assert flops.count(gradient, x, kernel) == whole // 4


def test_devices_share_the_work(row):
    params = jax.eval_shape(lambda: api.init(ReSegConfig.no_vgg(units=(4, 4)), jax.random.key(0)))
    layer = lambda params, x: renet_layer(params, x, (2, 2))  # noqa: E731
    arguments = params["params"]["renet_0"], jax.ShapeDtypeStruct((2, 8, 8, 3), jnp.float32)
    on_one = flops.count(layer, *arguments)
    # 2 images of 16 cells, 2 directions, 3 gates of 4 units; 2 x 2 x 3, then 8 features read.
    assert on_one == 2 * (2 * 16) * 2 * 12 * ((12 + 4) + (8 + 4))
    with jax.set_mesh(row):
        assert devices.row().size == 2
        assert flops.count(layer, *arguments) == on_one


def parts(config):
    """GFLOP of the features and of the head, per image of 360x480."""
    variables = jax.eval_shape(functools.partial(api.init, config), jax.random.key(0))
    image = jax.ShapeDtypeStruct((1, 360, 480, 3), jnp.uint8)
    features = functools.partial(api.features, config)
    mapped = jax.eval_shape(features, variables, image)
    head = lambda variables, mapped: api.head(config, variables, mapped, (360, 480))  # noqa: E731
    counts = flops.count(features, variables, image), flops.count(head, variables, mapped)
    return [round(count / 1e9, 3) for count in counts]


# Of the VGG, ReNet, upsampling and classifier, counted by hand from the layers' shapes: multiply
# and add, both, for each weight wherever it is used.
VGG = 64.298
RENET, CHAINED = 16.278, 13.323
UPSAMPLING = 2 * 0.864
CLASSIFIER, WITH_VOID = 0.190, 0.207


@pytest.mark.parametrize(
    ("changes", "head"),
    [
        ({}, RENET + UPSAMPLING + CLASSIFIER),
        ({"chained": True, "void_class": True}, CHAINED + UPSAMPLING + WITH_VOID),
    ],
)
def test_the_paper_s_network(changes, head):
    order = ("horizontal", "vertical")
    found = parts(ReSegConfig(order=order, **changes))
    assert found == pytest.approx([VGG, head], abs=0.002)


@pytest.mark.parametrize("remat", [False, True])
def test_training_costs_three_times_as_much(remat):
    """Gradients of what a product reads, and of its kernel; none of the pixels.

    The GRU's own gradient adds the candidate's recurrent product, which it does not store.
    """
    config = ReSegConfig.no_vgg(units=(4, 3), upsample_sizes=((2, 2),), upsample_channels=(5,))
    config = dataclasses.replace(config, execution=Execution(remat=remat))
    params = jax.eval_shape(functools.partial(api.init, config), jax.random.key(0))["params"]
    maps = {"pixels": jax.ShapeDtypeStruct((1, 8, 12, 3), jnp.float32)}

    def loss(params, maps):
        return api.head(config, {"params": params}, maps, (8, 12)).sum()

    cells = 4 * 6
    sweeps = 2 * cells * 2 * 12 * ((12 + 4) + (8 + 4)) + 2 * cells * 2 * 9 * ((8 + 3) + (6 + 3))
    above = 2 * cells * 6 * 4 * 5 + 2 * 8 * 12 * 5 * 11
    assert flops.count(loss, params, maps) == sweeps + above
    of_pixels = 2 * cells * 2 * 12 * 12
    candidates = 2 * cells * 2 * (2 * 4 * 4 + 2 * 3 * 3)  # h U, computed again in any case
    training = 3 * (sweeps + above) - of_pixels + candidates + remat * sweeps
    assert flops.count(jax.value_and_grad(loss), params, maps) == training
