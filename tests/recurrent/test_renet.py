"""A ReNet layer against the loop of the oracle, its gradient, and the paper's symmetries."""

import contextlib
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reseg_jax.errors import UserError
from reseg_jax.recurrent.renet import renet_layer, sublayer, to_patches
from reseg_jax.recurrent.sweep import GATES
from tests.support import reference
from tests.support.reference import assert_close, assert_gradient

UNITS = 3
ORDERS = [("vertical", "horizontal"), ("horizontal", "vertical")]


def parameters(features, cell="gru", order=ORDERS[0], units=UNITS, seed=0):
    rng = np.random.default_rng(seed)
    widths = {order[0]: features, order[1]: 2 * units}
    return {
        axis: {
            direction: reference.random_direction(rng, widths[axis], units, cell)
            for direction in ("forward", "backward")
        }
        for axis in order
    }


def single(tree):
    return jax.tree.map(lambda value: np.asarray(value, np.float32), tree)


def image(height, width, channels=2, batch=2, seed=1):
    return np.random.default_rng(seed).normal(size=(batch, height, width, channels))


def test_patch_order_by_hand():
    """3x3 pixels 1..9 in 2x2 patches: row, column; zeros below and to the right."""
    pixels = np.arange(1.0, 10).reshape(1, 3, 3, 1)
    expected = [[[1, 2, 4, 5], [3, 0, 6, 0]], [[7, 8, 0, 0], [9, 0, 0, 0]]]
    np.testing.assert_array_equal(to_patches(pixels, (2, 2))[0], expected)


def test_patch_order_is_row_column_channel():
    pixels = np.arange(12.0).reshape(1, 2, 3, 2)
    np.testing.assert_array_equal(to_patches(pixels, (2, 3))[0, 0, 0], np.arange(12))


@pytest.mark.parametrize("patch_size", [(1, 1), (2, 3), (5, 1), (9, 9)])
def test_patches_equal_the_loop(patch_size):
    pixels = image(5, 7).astype(np.float32)
    expected = reference.to_patches(pixels, patch_size)
    np.testing.assert_array_equal(to_patches(pixels, patch_size), expected)


@pytest.mark.parametrize("patch_size", [(1, 1), (2, 2)])
@pytest.mark.parametrize("cell", GATES)
def test_equals_the_loop(cell, patch_size):
    params = parameters(2 * patch_size[0] * patch_size[1], cell)
    pixels = image(5, 7)
    expected = reference.renet_layer(params, pixels, patch_size, cell)
    assert expected.shape == (2, -(-5 // patch_size[0]), -(-7 // patch_size[1]), 2 * UNITS)
    assert_close(renet_layer(single(params), single(pixels), patch_size, cell), expected)


@pytest.mark.parametrize("unroll", [3, True])
def test_other_order_unrolling_and_flat_patches_equal_the_loop(unroll):
    order, patch_size = ORDERS[1], (1, 2)
    params, pixels = parameters(4, order=order), image(3, 5)
    expected = reference.renet_layer(params, pixels, patch_size, order=order)
    found = renet_layer(single(params), single(pixels), patch_size, "gru", order, unroll=unroll)
    assert_close(found, expected)


def test_one_cell():
    params, pixels = parameters(8), image(1, 1)
    expected = reference.renet_layer(params, pixels, (2, 2))
    assert_close(renet_layer(single(params), single(pixels), (2, 2)), expected)


@pytest.mark.parametrize("shape", [(0, 3, 5, 2), (2, 0, 5, 2), (3, 5, 2)])
def test_nothing_to_sweep_is_refused(shape):
    with pytest.raises(UserError, match=r"image has shape \(.*give \[batch, height, width"):
        renet_layer(single(parameters(2)), np.zeros(shape, np.float32))


def test_gradient_equals_finite_differences_of_the_oracle():
    params, pixels = parameters(8), image(3, 5, batch=1)
    weights = np.random.default_rng(2).normal(size=(1, 2, 3, 2 * UNITS))

    def oracle(arguments):
        return np.sum(weights * reference.renet_layer(*arguments, (2, 2)))

    with jax.enable_x64(True):
        gradient = jax.grad(lambda a: jnp.sum(weights * renet_layer(*a, (2, 2))))((params, pixels))
    assert_gradient(gradient, oracle, (params, pixels))


# --- the ways to compute it ----------------------------------------------------------------------

WAYS = {
    "scan": {},
    "unroll=3": {"unroll": 3},
    "unroll=True": {"unroll": True},
    "remat": {"remat": True},
    "pallas": {"implementation": "pallas"},
}

# Of the largest entry, of outputs and gradients. bfloat16 keeps 8 bits: errors of half of 2^-7 at
# each of 5 steps are 2 %.
ROUNDING = {"float32": 1e-5, "bfloat16": 0.02}


def columns_swept(arguments, **how):
    """The vertical pair over one image of 7 columns, which two devices cannot share evenly."""
    outputs, pull = jax.vjp(lambda pair, x: sublayer(pair, x, "vertical", "gru", **how), *arguments)
    weights = np.random.default_rng(2).normal(size=outputs.shape).astype(outputs.dtype)
    return outputs, *pull(weights)


@functools.cache
def swept_exactly(dtype):
    """Arguments of `dtype`, and outputs by the oracle and gradients in float64."""
    arguments = single((parameters(2)["vertical"], image(5, 7, batch=1)))
    arguments = jax.tree.map(lambda value: jnp.asarray(value, dtype), arguments)
    exact = reference.float64(arguments[0]), reference.float64(arguments[1])
    with jax.enable_x64(True):
        _, *gradients = jax.jit(columns_swept)(exact)
    return arguments, (reference.pair(*exact, "vertical"), *gradients)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ROUNDING)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("divided", [False, True])
def test_every_way_to_compute_it_gives_the_same(divided, way, dtype, row):
    arguments, expected = swept_exactly(dtype)
    with jax.set_mesh(row) if divided else contextlib.nullcontext():
        found = jax.jit(functools.partial(columns_swept, **WAYS[way]))(arguments)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert one.dtype == dtype
        assert_close(np.asarray(one, np.float64), other, ROUNDING[dtype])


# --- laws ----------------------------------------------------------------------------------------

# Shapes and cell shared by the laws below, so that they share compiled programs too.
LAYER = {order: jax.jit(functools.partial(renet_layer, order=order)) for order in ORDERS}


def forgetful(params, axis):
    """Parameters whose pair along `axis` keeps no memory: a pointwise map of its input."""
    pair = {
        direction: kernels
        | {
            "recurrent_kernel": np.zeros_like(kernels["recurrent_kernel"]),
            # Update gate open: h' = c, reads nothing of h.
            "bias": np.repeat([0.0, 100.0, 0.0], UNITS),
        }
        for direction, kernels in params[axis].items()
    }
    return params | {axis: pair}


@pytest.mark.parametrize("axis", ["vertical", "horizontal"])
def test_permuting_lines_commutes_with_the_pair_along_them(axis):
    """Columns do not see each other in the vertical pair, nor rows in the horizontal one."""
    across = "horizontal" if axis == "vertical" else "vertical"
    params = single(forgetful(parameters(2), across))
    pixels = single(image(4, 4))
    shuffle = [2, 0, 3, 1]
    permute = (lambda x: x[:, :, shuffle]) if axis == "vertical" else (lambda x: x[:, shuffle])
    layer = LAYER[ORDERS[0]]
    assert_close(layer(params, permute(pixels)), permute(layer(params, pixels)), 1e-6)
    # And the law says something: along the sweep an exchange of places does matter.
    other = (lambda x: x[:, shuffle]) if axis == "vertical" else (lambda x: x[:, :, shuffle])
    difference = layer(params, other(pixels)) - other(layer(params, pixels))
    assert np.abs(difference).max() > 1e-2


def test_transposing_the_image_and_swapping_the_pairs_transposes_the_result():
    params, pixels = single(parameters(2)), single(image(4, 6))
    swapped = {"vertical": params["horizontal"], "horizontal": params["vertical"]}
    found = LAYER[ORDERS[1]](swapped, pixels.swapaxes(1, 2))
    assert_close(found, LAYER[ORDERS[0]](params, pixels).swapaxes(1, 2), 1e-6)


def test_transposing_turns_patches_too():
    """With square patches the features of a patch are permuted by the transposition."""
    params, pixels = single(parameters(8)), single(image(3, 5))
    pairs = {"vertical": params["horizontal"], "horizontal": params["vertical"]}
    places = np.arange(8).reshape(2, 2, 2).swapaxes(0, 1).ravel()
    first = {
        direction: kernels | {"input_kernel": kernels["input_kernel"][places]}
        for direction, kernels in params["vertical"].items()
    }
    found = renet_layer(
        pairs | {"horizontal": first}, pixels.swapaxes(1, 2), (2, 2), order=ORDERS[1]
    )
    assert_close(found, renet_layer(params, pixels, (2, 2)).swapaxes(1, 2), 1e-6)


@pytest.mark.parametrize("axis", ["vertical", "horizontal"])
def test_mirroring_swaps_the_directions(axis):
    """Mirrored along the sweep, forward does what backward did; their channels change places."""
    params, pixels = single(parameters(2)), single(image(4, 4))
    mirror = (lambda x: x[:, ::-1]) if axis == "vertical" else (lambda x: x[:, :, ::-1])
    pair = params[axis]
    turned = params | {axis: {"forward": pair["backward"], "backward": pair["forward"]}}
    swap = np.r_[UNITS : 2 * UNITS, :UNITS]
    expected = mirror(LAYER[ORDERS[0]](params, pixels))
    if axis == "vertical":  # the horizontal pair reads the exchanged channels
        turned["horizontal"] = {
            direction: kernels | {"input_kernel": kernels["input_kernel"][swap]}
            for direction, kernels in params["horizontal"].items()
        }
    else:
        expected = expected[..., swap]
    assert_close(LAYER[ORDERS[0]](turned, mirror(pixels)), expected, 1e-6)


@pytest.mark.parametrize("order", ORDERS)
def test_every_output_cell_depends_on_every_input_cell(order):
    params = single(parameters(2, order=order))
    jacobian = jax.jit(jax.jacrev(lambda x: renet_layer(params, x, order=order)))(
        single(image(3, 4, batch=1))
    )
    # [I, J, U, I, J, C] -> [I, J, I, J]
    seen = np.abs(np.asarray(jacobian)[0, :, :, :, 0]).max(axis=(2, 5))
    assert seen.shape == (3, 4, 3, 4)
    assert (seen > 0).all()


def test_images_of_a_batch_do_not_see_each_other():
    params, pixels = single(parameters(2)), single(image(4, 4))
    together = LAYER[ORDERS[0]](params, pixels)
    one_by_one = np.concatenate([LAYER[ORDERS[0]](params, pixels[b : b + 1]) for b in range(2)])
    assert_close(together, one_by_one, 1e-6)


def test_jit_and_vmap_change_nothing():
    params, pixels = single(parameters(2)), single(image(4, 4))
    expected = renet_layer(params, pixels)
    assert_close(LAYER[ORDERS[0]](params, pixels), expected, 1e-6)
    many = jax.vmap(renet_layer, in_axes=(None, 0))(params, pixels[:, None])
    assert_close(many[:, 0], expected, 1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": np.zeros((4, 4, 2), "f4")}, r"image has shape \(4, 4, 2\): give \[batch"),
        ({"image": np.zeros((1, 0, 4, 2), "f4")}, "none of them 0"),
        ({"image": "photo.png"}, "image is a str: give an array"),
        ({"patch_size": 2}, "patch_size=2: give a height and a width"),
        ({"patch_size": (2, 0)}, r"patch_size=\(2, 0\)"),
        ({"patch_size": (2, 2)}, "lines of 8 features"),
        ({"order": ("vertical", "vertical")}, "give both of vertical, horizontal"),
        ({"params": {"vertical": {}}}, "params needs vertical, horizontal and has vertical"),
        ({"params": {"vertical": {}, "horizontal": {}}}, "needs forward, backward and has nothing"),
    ],
)
def test_other_arguments_are_refused_before_xla_sees_them(change, message):
    arguments = {"params": single(parameters(2)), "image": single(image(4, 4))} | change
    with pytest.raises(UserError, match=message):
        renet_layer(**arguments)
