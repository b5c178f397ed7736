"""Convolutions, and all ways to the gradient of a 3x3 kernel, against sums in plain loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from reseg_jax.layers import conv, winograd
from reseg_jax.layers.pooling import max_pool
from tests.support import reference_layers
from tests.support.reference import assert_close

SIZES = [(1, 1), (2, 3), (5, 4), (7, 1)]  # heights that blocks of rows divide, and others


def case(size):
    rng = np.random.default_rng(0)
    shapes = (2, *size, 3), (3, 3, 3, 4), (2, *size, 4)
    return [rng.normal(size=shape).astype(np.float32) for shape in shapes]


def windows(x):
    """[B, H, W, C] -> {(a, b): the pixel at (a - 1, b - 1) from each, zeros outside}, float64."""
    height, width = x.shape[1:3]
    x = np.pad(x.astype(np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)))
    return {(a, b): x[:, a : a + height, b : b + width] for a in range(3) for b in range(3)}


@pytest.fixture
def minimal(monkeypatch):
    """Minimal filtering wherever a tile fits: the suite's channels are too few for it."""
    monkeypatch.setattr(conv, "_LEAST_CHANNELS", 1)
    for name in ("_LEAST_TILES", "_LEAST_TILES_PREPARED", "_LEAST_TILES_OF_GRADIENT"):
        monkeypatch.setattr(conv, name, 1)
    monkeypatch.setattr(conv, "_MOST_CORES", 1000)


def loss(way):
    """A number that depends on all of `conv_relu`, or of the same in several passes."""

    def function(x, kernel, bias):
        if way == "one pass":
            y = conv.conv_relu(x, kernel, bias, None, True)
        else:
            y = max_pool(jax.nn.relu(conv._direct(x, kernel) + bias[None, None, None]))
        return jnp.sum(y**2 * jnp.arange(y.size, dtype=y.dtype).reshape(y.shape))

    return function


@pytest.mark.parametrize("size", SIZES)
def test_the_sum_over_the_window(size):
    x, kernel, _ = case(size)
    expected = sum(shifted @ kernel[place] for place, shifted in windows(x).items())
    assert_close(conv.convolve(x, kernel), expected, 1e-6)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("way", [conv._by_rows, conv._by_convolution])
def test_both_ways_to_the_gradient_of_the_kernel(size, way):
    x, kernel, dy = case(size)
    expected = np.zeros(kernel.shape)
    for place, shifted in windows(x).items():
        expected[place] = np.einsum("bhwc,bhwf->cf", shifted, dy)
    assert_close(way(jnp.asarray(x), jnp.asarray(dy)), expected, 1e-6)


def test_gradients_of_both_arguments_to_second_order():
    x, kernel, _ = case((5, 4))
    check_grads(conv.convolve, (x, kernel), order=2, modes=["rev"], rtol=1e-2)
    check_grads(conv.kernel_gradient, (x, case((5, 4))[2]), order=2, modes=["rev"], rtol=1e-2)


@pytest.mark.parametrize("size", [(4, 6), (6, 5), (2, 2)])
def test_one_pass_is_several(size, minimal):
    """Values and gradients; sizes that pools divide and do not, and one without a tile."""
    x, kernel, _ = case(size)
    bias = np.linspace(-1, 1, 4, dtype=np.float32)
    for found, expected in zip(
        jax.value_and_grad(loss("one pass"), (0, 1, 2))(x, kernel, bias),
        jax.value_and_grad(loss("passes"), (0, 1, 2))(x, kernel, bias),
        strict=True,
    ):
        jax.tree.map(lambda one, other: assert_close(one, np.asarray(other), 1e-5), found, expected)


@pytest.mark.parametrize("images", [1, 2])
@pytest.mark.parametrize("height", [8, 9])
def test_divided_over_devices(row, images, height, minimal):
    """Images that divide, rows that do and do not: values, gradients, pooled and not."""
    x, kernel, dy = (part[:images] if part.shape[0] == 2 else part for part in case((height, 6)))
    bias = np.linspace(-1, 1, 4, dtype=np.float32)

    def both(x, kernel):
        y, pull = jax.vjp(conv.convolve, x, kernel)
        pooled = conv.conv_relu(x, kernel, bias, None, True)
        return y, pull(jnp.asarray(dy))[:2], pooled, jax.grad(loss("one pass"), 1)(x, kernel, bias)

    whole = jax.jit(both)(x, kernel)
    with jax.set_mesh(row):
        divided = jax.jit(both)(x, kernel)
    for one, other in zip(jax.tree.leaves(divided), jax.tree.leaves(whole), strict=True):
        assert_close(np.asarray(one), np.asarray(other), 1e-5)


def test_transformations_of_what_is_minimal(minimal):
    """vmap of gradients, and checkpoint."""
    x, kernel, _ = case((4, 5))
    bias = np.zeros(4, np.float32)
    gradient = jax.grad(jax.checkpoint(loss("one pass")))
    found = jax.vmap(gradient, (0, None, None))(x[:, None], kernel, bias)
    expected = [jax.grad(loss("passes"))(image[None], kernel, bias) for image in x]
    assert_close(np.asarray(found), np.stack(expected), 1e-5)


@pytest.mark.parametrize(
    ("shape", "features", "dtype", "minimal"),
    [
        ((1, 90, 120, 256), 256, jnp.float32, True),
        ((1, 360, 480, 3), 64, jnp.float32, False),  # conv1_1
        ((1, 360, 480, 64), 3, jnp.float32, False),
        ((1, 8, 8, 64), 64, jnp.float32, False),  # 4 tiles
        ((16, 8, 8, 64), 64, jnp.float32, True),
        ((1, 90, 120, 32), 64, jnp.float32, False),
        ((64, 3, 90, 64), 64, jnp.float32, False),  # no whole tile
        ((1, 90, 120, 256), 256, jnp.bfloat16, False),
        ((1, 90, 120, 256), 256, jnp.float64, False),
    ],
)
def test_where_minimal_filtering_is_used(shape, features, dtype, minimal, monkeypatch):
    monkeypatch.setattr(conv.devices, "cores", lambda: 2)
    assert conv._wins(shape, features, dtype, 64) is minimal


def test_a_device_of_many_cores_divides_the_sums(monkeypatch):
    monkeypatch.setattr(conv.devices, "cores", lambda: 3 * jax.device_count())
    assert not conv._wins((1, 90, 120, 256), 256, jnp.float32, 64)


def test_other_devices_use_their_libraries(minimal):
    """The program for a GPU has the convolution in it, that for a CPU has not."""
    x, kernel, _ = case((8, 8))
    program = jax.jit(lambda x, kernel: conv.convolve(x, kernel))
    for platform, direct in (("cuda", True), ("cpu", False)):
        text = jax.export.export(program, platforms=[platform])(x, kernel).mlir_module()
        assert ("stablehlo.convolution" in text) is direct
        assert ("stablehlo.while" in text) is not direct


def test_bfloat16_is_kept(minimal):
    x, kernel, _ = (jnp.asarray(part, jnp.bfloat16) for part in case((8, 8)))
    found = conv.convolve(x, kernel)
    assert found.dtype == jnp.bfloat16
    expected = reference_layers.convolution(x, kernel)
    assert np.abs(np.float64(found) - expected).max() < 2**-7 * np.abs(expected).max()


def test_kernels_are_transformed_once(minimal, key):
    """The layer reads the collection, and what is prepared is what minimal filtering can use."""
    x, kernel, _ = case((8, 8))
    layer = conv.Convolution(4)
    params = layer.init(key, x)["params"]
    prepared = conv.prepare({"a": {"b": params, "c": {"kernel": jnp.zeros((1, 1, 3, 4))}}})
    assert jax.tree.structure(prepared) == jax.tree.structure({"a": {"b": {"kernel": (0,) * 6}}})
    other = {"kernel": winograd.transform_kernel(kernel)}
    found = layer.apply({"params": params, conv.TRANSFORMED: other}, x)
    assert_close(found, reference_layers.convolution(x, kernel), 1e-5)
    expected = reference_layers.convolution(x, params["kernel"])
    found = layer.apply({"params": params, conv.TRANSFORMED: prepared["a"]["b"]}, x)
    assert_close(found, expected, 1e-5)


def test_what_is_differentiated_reads_the_kernel_itself(minimal):
    """A transformed kernel of an earlier step would be another one."""
    x, kernel, _ = case((8, 8))
    older = winograd.transform_kernel(2 * kernel)
    found, _ = jax.value_and_grad(lambda k: conv.convolve(x, k, older).sum())(kernel)
    assert_close(found, np.float32(reference_layers.convolution(x, kernel).sum()), 1e-4)
    bias = np.zeros(4, np.float32)
    found, _ = jax.value_and_grad(lambda k: conv.conv_relu(x, k, bias, older).sum())(kernel)
    expected = np.maximum(reference_layers.convolution(x, kernel), 0).sum()
    assert_close(found, np.float32(expected), 1e-4)


def test_few_channels_are_not_prepared():
    assert conv.prepare({"conv1_1": {"kernel": jnp.zeros((3, 3, 3, 64))}}) == {}


@pytest.mark.parametrize(
    ("kernel_size", "padding", "dilation"),
    [
        ((3, 3), "SAME", 1),
        ((3, 3), "VALID", 1),
        ((3, 3), "SAME", 2),
        ((3, 3), "VALID", 2),
        ((1, 1), "SAME", 1),
        ((1, 1), "VALID", 3),
        ((7, 7), "VALID", 1),
        ((7, 7), "SAME", 1),
        ((1, 5), "SAME", 2),
    ],
)
def test_layer_equals_the_loops(kernel_size, padding, dilation, key):
    x = np.random.default_rng(0).normal(size=(2, 8, 9, 3)).astype(np.float32)
    layer = conv.Convolution(4, kernel_size, padding, dilation)
    params = layer.init(key, x)["params"]
    assert jax.tree.map(jnp.shape, params) == {"kernel": (*kernel_size, 3, 4), "bias": (4,)}
    assert (params["bias"] == 0).all()
    params["bias"] = np.arange(4, dtype=np.float32)
    expected = reference_layers.convolution(x, params["kernel"], padding, dilation)
    assert_close(layer.apply({"params": params}, x), expected + np.arange(4), 1e-6)


@pytest.mark.parametrize("size", [(8, 9), (9, 8), (1, 2)])
@pytest.mark.parametrize("side", [1, 3, 7])
@pytest.mark.parametrize("dilation", [1, 2])
def test_a_stride_leaves_out_results(size, side, dilation, key):
    """Cell i is centered on pixel 2 i, as with PyTorch's symmetric padding, at any size."""
    x = np.random.default_rng(0).normal(size=(2, *size, 3)).astype(np.float32)
    dense = conv.Convolution(4, (side, side), dilation=dilation)
    variables = dense.init(key, x)
    found = dense.clone(stride=2).apply(variables, x)
    assert_close(found, dense.apply(variables, x)[:, ::2, ::2], 1e-6)
    kernel = variables["params"]["kernel"]
    expected = reference_layers.convolution(x, kernel, dilation=dilation, stride=2)
    assert_close(found, expected, 1e-6)


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("use_bias", [True, False])
def test_layer_with_what_follows(padding, use_bias, key):
    x = np.random.default_rng(0).normal(size=(2, 7, 8, 3)).astype(np.float32)
    layer = conv.Convolution(4, padding=padding, use_bias=use_bias, relu=True, pool=True)
    params = layer.init(key, x)["params"]
    expected = np.maximum(reference_layers.convolution(x, params["kernel"], padding), 0)
    found = layer.apply({"params": params}, x)
    assert_close(found, reference_layers.max_pool(expected), 1e-6)


def test_layer_without_a_bias_and_with_another_start(key):
    x = np.ones((1, 4, 4, 2), np.float32)
    layer = conv.Convolution(3, use_bias=False, kernel_init=jax.nn.initializers.ones)
    found, variables = layer.init_with_output(key, x)
    assert jax.tree.map(jnp.shape, variables) == {"params": {"kernel": (3, 3, 2, 3)}}
    np.testing.assert_array_equal(found[0, :, :, 0], 2 * np.outer([2, 3, 3, 2], [2, 3, 3, 2]))
