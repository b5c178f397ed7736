"""U-Net: the paper's sizes and parameters, its values in NumPy, and the crops in between."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reseg_jax.backbones.vgg import VGG16
from reseg_jax.errors import UserError
from reseg_jax.networks.unet import UNet, UNetConfig
from tests.support import reference
from tests.support.reference import assert_close

TINY = UNetConfig(num_classes=2, channels=(2, 3))


def pixels(size, batch=1, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(batch, *size, 3)).astype(np.float32)


def initialized(config, key, size):
    """Variables with biases that are not zero."""
    variables = UNet(config).init(key, {"pixels": jnp.zeros((1, *size, 3))})
    rng = np.random.default_rng(1)
    return jax.tree.map(
        lambda x: x if x.ndim > 1 else x + 0.1 * rng.normal(size=x.shape).astype(np.float32),
        variables,
    )


def shapes(config, size):
    """(shapes of the variables, shape of the logits) without computing anything."""
    maps = {"pixels": jax.ShapeDtypeStruct((1, *size, 3), jnp.float32)}
    logits, variables = jax.eval_shape(UNet(config).init_with_output, jax.random.key(0), maps)
    return variables, logits.shape


# --- the paper's numbers -------------------------------------------------------------------------


def test_figure_1():
    """572 x 572 pixels give 388 x 388 logits."""
    config = UNetConfig(num_classes=2)
    assert shapes(config, (572, 572))[1] == (1, 388, 388, 2)
    assert config.padded_size((388, 388)) == (572, 572)
    assert config.margin == (572 - 388) // 2


@pytest.mark.parametrize(
    ("config", "count"),
    [
        (UNetConfig(), 31_032_395),
        (UNetConfig(batch_norm=True), 31_044_171),
        (UNetConfig(padding="same"), 31_032_395),
    ],
)
def test_number_of_parameters(config, count):
    params = shapes(config, config.padded_size((1, 1)))[0]["params"]
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == count


def test_he_initialization(key):
    """Deviation sqrt(2 / N), N the inputs of a neuron; an up-convolution's has no overlap."""
    config = UNetConfig(channels=(64, 128), padding="same")
    params = UNet(config).init(key, {"pixels": jnp.zeros((1, 2, 2, 3))})["params"]
    for kernel, inputs in (
        (params["bottom"]["conv_1"]["kernel"], 9 * 128),
        (params["up_0"]["conv_0"]["kernel"], 9 * 128),
        (params["upsample_0"]["kernel"], 128),
    ):
        np.testing.assert_allclose(kernel.std(), (2 / inputs) ** 0.5, rtol=0.02)


# --- sizes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("levels", [1, 2, 3, 4])
def test_margin_is_what_the_convolutions_take_off(levels):
    config = UNetConfig(channels=(1,) * (levels + 1))
    (height, width) = config.padded_size((37, 50))
    assert shapes(config, (height, width))[1][1:3] == (
        height - 2 * config.margin,
        width - 2 * config.margin,
    )


def halves(n, levels):
    """Whether each pooling of unpadded convolutions sees an even size, and something is left."""
    for _ in range(levels):
        if (n - 4) % 2:
            return False
        n = (n - 4) // 2
    return n > 4


@pytest.mark.parametrize("levels", [1, 2, 4])
def test_padded_size_is_the_smallest(levels):
    """By trying every size."""
    config = UNetConfig(channels=(1,) * (levels + 1))
    for side in (1, 2, 3, 17, 36, 99):
        n = side + 2 * config.margin
        while not halves(n, levels):
            n += 1
        assert config.padded_size((side, side)) == (n, n)


def test_camvid_size_by_hand():
    """360 + 184 = 544 and 480 + 184 = 664; the next of 12 modulo 16 are 556 and 668."""
    assert UNetConfig().padded_size((360, 480)) == (556, 668)
    assert UNetConfig(padding="same").padded_size((360, 480)) == (368, 480)
    assert UNetConfig(padding="same").margin == 0


# --- values --------------------------------------------------------------------------------------


def two(params, x, valid):
    """Two convolutions with ReLU of [H,W,C]; unpadded ones are those that saw no zeros."""
    for name in ("conv_0", "conv_1"):
        x = reference.conv3x3_relu(x, **params[name])
        x = x[1:-1, 1:-1] if valid else x
    return x


def unet(params, x, valid):
    """[H,W,3] -> [h,w,K], the recursion of the figure: a level around the next one."""
    params = reference.float64(params)
    depth = sum(name.startswith("down_") for name in params)

    def level(number, x):
        if number == depth:
            return two(params["bottom"], x, valid)
        skip = two(params[f"down_{number}"], x, valid)
        x = level(number + 1, reference.max_pool(skip))
        x = reference.transposed_conv(x[None], **params[f"upsample_{number}"])[0]
        (height, width), (top, left) = x.shape[:2], (np.subtract(skip.shape, x.shape)[:2] // 2)
        skip = skip[top : top + height, left : left + width]
        return two(params[f"up_{number}"], np.concatenate([skip, x], axis=-1), valid)

    x = level(0, reference.float64(x))
    return x @ params["classifier"]["kernel"] + params["classifier"]["bias"]


@pytest.mark.parametrize(
    ("padding", "channels", "size"),
    [
        ("valid", (2, 3), (20, 18)),
        ("valid", (2, 3, 4), (44, 48)),
        ("same", (2, 3), (6, 4)),
        ("same", (2, 3, 4), (8, 12)),
    ],
)
def test_equals_the_loops(key, padding, channels, size):
    config = UNetConfig(num_classes=2, padding=padding, channels=channels)
    variables, x = initialized(config, key, size), pixels(size)
    found = UNet(config).apply(variables, {"pixels": x})
    assert_close(found[0], unet(variables["params"], x[0], padding == "valid"), 1e-5)


def test_valid_logits_are_the_padded_ones_away_from_the_border(key):
    """And begin at (margin, margin): with one level both pool the same pixels together."""
    size, margin = (26, 22), TINY.margin
    variables, maps = initialized(TINY, key, size), {"pixels": pixels(size)}
    valid = UNet(TINY).apply(variables, maps)
    same = UNet(UNetConfig(num_classes=2, channels=(2, 3), padding="same")).apply(variables, maps)
    assert_close(valid, same[:, margin:-margin, margin:-margin], 1e-5)


def test_dropout_acts_only_with_a_key(key):
    size = (18, 18)
    variables, maps = initialized(TINY, key, size), {"pixels": pixels(size)}
    fixed = UNet(TINY).apply(variables, maps, train=True)
    dropped = UNet(TINY).apply(variables, maps, train=True, rngs={"dropout": key})
    assert TINY.uses_dropout and not UNetConfig(dropout=0.0).uses_dropout
    assert not np.allclose(fixed, dropped)
    np.testing.assert_array_equal(fixed, UNet(TINY).apply(variables, maps))


def test_filling_images_do_not_reach_the_statistics(key):
    config = UNetConfig(num_classes=2, channels=(2, 3), padding="same", batch_norm=True)
    variables, x = initialized(config, key, (4, 4)), pixels((4, 4), batch=3)

    def updated(x, weight):
        _, changed = UNet(config).apply(
            variables, {"pixels": x}, train=True, weight=weight, mutable=["batch_stats"]
        )
        return changed["batch_stats"]

    found = updated(x, jnp.asarray([1.0, 1.0, 0.0]))
    jax.tree.map(lambda a, b: assert_close(a, b, 1e-5), found, updated(x[:2], jnp.ones(2)))
    assert set(found) == {"down_0", "bottom", "up_0"}


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"padding": "full"}, "padding='full' is unknown; known are: valid, same"),
        ({"channels": (64,)}, "at least 2 numbers"),
        ({"channels": (64, 0)}, "all of them at least 1"),
        ({"dropout": 1.0}, "from 0 to below 1"),
        ({"backbone": VGG16()}, "leave backbone out"),
    ],
)
def test_impossible_networks_are_refused(changes, words):
    with pytest.raises(UserError) as error:
        UNetConfig(**changes)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("padding", "size", "words"),
    [
        ("valid", (16, 18), "pad them to (18, 18)"),
        ("valid", (19, 18), "pad them to (20, 18)"),
        ("same", (5, 4), "pad them to (6, 4)"),
    ],
)
def test_pixels_that_cannot_be_halved_are_refused(padding, size, words):
    with pytest.raises(UserError) as error:
        shapes(UNetConfig(channels=(2, 3), padding=padding), size)
    assert words in str(error.value)
