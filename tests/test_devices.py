"""Sweeps divided over two devices: who gets what, and the same result as on one."""

import functools
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reseg_jax import api, devices
from reseg_jax.backbones.vgg import VGG16
from reseg_jax.networks.reseg import ReSegConfig
from reseg_jax.recurrent.renet import renet_layer, sublayer
from reseg_jax.recurrent.sweep import GATES
from tests.support import reference
from tests.support.reference import assert_close

INPUTS, UNITS = 2, 3


def pair(cell, inputs=INPUTS, seed=0):
    rng = np.random.default_rng(seed)
    return {
        direction: jax.tree.map(np.float32, reference.random_direction(rng, inputs, UNITS, cell))
        for direction in ("forward", "backward")
    }


def noise(*shape):
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


def assert_divided_is_whole(function, row, *arguments):
    """The trees that `function` returns, jitted, on one device and on two."""
    whole = jax.jit(function)(*arguments)
    with jax.set_mesh(row):
        divided = jax.jit(function)(*arguments)
    for one, other in zip(jax.tree.leaves(divided), jax.tree.leaves(whole), strict=True):
        assert_close(np.asarray(one), np.asarray(other))


def with_gradient(function):
    """`(params, x) -> (function(params, x), gradient by both)`, of a loss of unequal weights."""

    def both(params, x):
        outputs, pull = jax.vjp(function, params, x)
        return outputs, pull(noise(*outputs.shape))

    return both


# --- who gets what -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("images", "lines", "share"),
    [
        (2, 5, (1, 5)),
        (4, 5, (2, 5)),
        (1, 6, (1, 3)),
        (1, 5, (1, 3)),
        (3, 4, (3, 2)),
        (1, 1, (1, 1)),
    ],
)
def test_images_are_divided_if_they_divide_evenly_and_otherwise_lines(row, images, lines, share):
    shares = []

    def double(factor, part):
        shares.append(part.shape)
        return factor * part

    x = noise(7, images, lines, INPUTS)
    with jax.set_mesh(row):
        found = devices.over_lines(double, jnp.float32(2), x)
    np.testing.assert_array_equal(found, 2 * x)
    assert shares == [(7, *share, INPUTS)]


def test_without_a_row_nothing_is_divided(row):
    shapes = []

    def record(_, x):
        shapes.append(x.shape)
        return x

    x = noise(7, 2, 5, INPUTS)
    devices.over_lines(record, None, x)
    with jax.set_mesh(jax.make_mesh((2,), ("other",), axis_types=(jax.sharding.AxisType.Auto,))):
        devices.over_lines(record, None, x)
    assert shapes == [x.shape, x.shape]


# --- the same result -----------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 3, 5), (3, 3, 4), (2, 3, 5), (1, 1, 1)])
def test_a_layer_and_its_gradient_are_those_of_one_device(row, shape):
    """Rows and columns that divide and do not, images that divide and do not."""
    params = {"vertical": pair("rnn"), "horizontal": pair("rnn", 2 * UNITS, seed=2)}
    layer = functools.partial(renet_layer, cell="rnn")
    assert_divided_is_whole(with_gradient(layer), row, params, noise(*shape, INPUTS))


@pytest.mark.parametrize("cell", GATES)
def test_every_cell_can_be_divided(row, cell):
    function = functools.partial(sublayer, direction="horizontal", cell=cell)
    assert_divided_is_whole(with_gradient(function), row, pair(cell), noise(1, 3, 5, INPUTS))


def test_transformations_work_on_what_is_divided(row):
    """vmap, checkpoint and the derivative of the derivative, in one program."""
    params, x = pair("rnn"), noise(2, 1, 3, 5, INPUTS)  # two times one image

    def loss(params, x):
        return jnp.sum(sublayer(params, x, "vertical", "rnn") ** 2)

    gradient = jax.grad(loss)

    def transformed(params, x):
        def slope(x):
            return jnp.sum(jax.grad(loss, argnums=1)(params, x) ** 2)

        many = jax.vmap(gradient, in_axes=(None, 0))(params, x)
        return many, jax.grad(jax.checkpoint(loss))(params, x[0]), jax.grad(slope)(x[0])

    assert_divided_is_whole(transformed, row, params, x)


@pytest.mark.parametrize("size", [(5, 7), (3, 4)])
def test_a_network_and_its_gradient_are_those_of_one_device(row, size):
    """Convolutions and upsampling too: neither rows nor columns divide, or the columns do."""
    config = ReSegConfig(
        num_classes=2,
        backbone=VGG16(trainable=True),
        tap="conv1_1",
        cell="rnn",
        patch_sizes=((1, 1),),
        units=(2,),
        upsample_sizes=((1, 1),),
        upsample_channels=(2,),
    )
    shapes = jax.eval_shape(functools.partial(api.init, config), jax.random.key(0))
    params = jax.tree.map(lambda leaf: noise(*leaf.shape) / 4, shapes["params"])
    images = 100 * np.abs(noise(1, *size, 3))
    network = with_gradient(lambda params, x: api.apply(config, {"params": params}, x))
    assert_divided_is_whole(network, row, params, images)


@pytest.mark.parametrize(
    ("shape", "share"),
    [
        ((2, 3, 4, 1), (1, 3, 4, 1)),
        ((1, 6, 4, 1), (1, 3, 4, 1)),
        ((3, 3, 4, 1), (3, 3, 2, 1)),
        ((1, 3, 5, 1), (1, 3, 5, 1)),
    ],
)
def test_spread_divides_the_first_axis_that_divides(row, shape, share):
    images = noise(*shape)
    with jax.set_mesh(row):
        found = jax.jit(devices.spread)(images)
    np.testing.assert_array_equal(found, images)
    assert [part.data.shape for part in found.addressable_shards] == [share, share]


def test_everywhere_is_whole_on_every_device(row):
    tree = {"kernel": noise(3, 2), "step": np.int32(4)}
    on_one = devices.everywhere(tree)
    with jax.set_mesh(row):
        both = devices.everywhere(tree)
    for placed, count in ((on_one, 1), (both, 2)):
        for name, value in tree.items():
            shards = placed[name].addressable_shards
            assert len(shards) == count
            for shard in shards:
                np.testing.assert_array_equal(shard.data, value)


# --- a command's start ---------------------------------------------------------------------------


@pytest.mark.parametrize("asked", ["", "3"])
def test_use_all_makes_every_core_a_device_unless_a_number_is_set(asked):
    code = """
from reseg_jax import devices
devices.use_all()
import jax
mesh = jax.sharding.get_abstract_mesh()
print(jax.device_count(), dict(mesh.shape))
"""
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": asked}
    if not asked:
        del environment["JAX_NUM_CPU_DEVICES"]
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    count = int(asked or len(os.sched_getaffinity(0)))
    assert result.stdout.split() == [str(count), "{'devices':", f"{count}}}"], result.stderr
