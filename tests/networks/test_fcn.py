"""FCN: published parameter counts, and that scores of all strides meet over the same pixels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reseg_jax import api
from reseg_jax.backbones.vgg import VGG, VGG16
from reseg_jax.errors import UserError
from reseg_jax.networks.fcn import FCN, FCNConfig
from tests.support import reference
from tests.support.reference import assert_close

STRIDES = (32, 16, 8)
TINY_VGG = VGG16(trainable=True, channels=(1, 1, 2, 2, 2), fc_channels=3)


def make(geometry, **changes):
    """An FCN of either geometry."""
    return FCNConfig.published(**changes) if geometry == "published" else FCNConfig(**changes)


def map_shapes(config, size):
    """{tap: shape} of what the backbone gives for an image."""
    pixels = jax.ShapeDtypeStruct((1, *size, 3), jnp.float32)
    backbone = VGG(config.backbone, config.taps)
    maps, _ = jax.eval_shape(backbone.init_with_output, jax.random.key(0), pixels)
    return {tap: found.shape for tap, found in maps.items()}


def number(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


# --- the paper's numbers -------------------------------------------------------------------------


@pytest.mark.parametrize("geometry", ["same", "published"])
@pytest.mark.parametrize(
    ("stride", "learned", "upsampling"),
    [
        (32, 134_305_611, 0),
        (16, 134_311_254, 1 * 4 * 4 * 11 * 11),
        (8, 134_314_081, 2 * 4 * 4 * 11 * 11),
    ],
)
def test_number_of_parameters(geometry, stride, learned, upsampling):
    config = make(geometry, upsample_stride=stride)
    pixels = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    key = jax.random.key(0)
    maps, backbone = jax.eval_shape(VGG(config.backbone, config.taps).init_with_output, key, pixels)
    params = jax.eval_shape(FCN(config).init, key, maps)["params"]
    upsamplings = [params.pop(name) for name in list(params) if name.startswith("upsample_")]
    assert number(backbone["params"]) + number(params) == learned
    assert number(upsamplings) == upsampling


def test_scores_begin_at_zero(key):
    config = FCNConfig(num_classes=2, backbone=TINY_VGG)
    maps = {tap: jnp.ones(shape) for tap, shape in map_shapes(config, (32, 32)).items()}
    assert not FCN(config).init_with_output(key, maps)[0].any()


# --- sizes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("geometry", ["same", "published"])
@pytest.mark.parametrize("stride", STRIDES)
@pytest.mark.parametrize("size", [(1, 1), (17, 33), (97, 131), (360, 480), (255, 319)])
def test_any_size_is_covered(geometry, stride, size):
    """Also if nothing is padded; with padding, "same" gives what was padded."""
    config = make(geometry, upsample_stride=stride, backbone=TINY_VGG)
    for computed in (size, config.padded_size(size)):
        maps = {
            tap: jax.ShapeDtypeStruct(shape, jnp.float32)
            for tap, shape in map_shapes(config, computed).items()
        }
        logits, _ = jax.eval_shape(FCN(config).init_with_output, jax.random.key(0), maps)
        assert logits.shape[3] == 11
        covered = [int(n * s) for n, s in zip(logits.shape[1:3], config.output_stride, strict=True)]
        assert all(have >= wanted for have, wanted in zip(covered, size, strict=True))
    if geometry == "same":
        assert tuple(covered) == config.padded_size(size)
    else:
        assert config.padded_size(size) == size


# --- where the scores are ------------------------------------------------------------------------

# Pixel on which the center of cell 0 falls. "same": the middle of its stride. "published": 99
# pixels earlier, and fc6 takes 3 cells of pool5 off.
FIRST_CENTERS = {
    "same": {"fc7": 15.5, "pool4": 7.5, "pool3": 3.5},
    "published": {"fc7": 15.5 - 99 + 3 * 32, "pool4": 7.5 - 99, "pool3": 3.5 - 99},
}


def ramps(config, size):
    """Maps of an image whose channels are the row and the column of each center, and 1."""
    maps = {}
    for tap, (_, height, width, _) in map_shapes(config, size).items():
        stride, first = config.tap_stride(tap), FIRST_CENTERS[config.geometry][tap]
        rows, columns = np.mgrid[:height, :width] * stride + first
        maps[tap] = np.stack([rows, columns, np.ones_like(rows)], -1)[None].astype(np.float32)
    return maps


def scores(config, maps, key, kernel):
    """Variables in which every score layer has `kernel`, without bias."""
    params = FCN(config).init(key, maps)["params"]
    for name in params:
        if name == "classifier" or name.startswith("score_"):
            params[name]["kernel"] = jnp.asarray(kernel, jnp.float32)
    return {"params": params}


@pytest.mark.parametrize("geometry", ["same", "published"])
@pytest.mark.parametrize("stride", STRIDES)
@pytest.mark.parametrize("size", [(160, 192), (151, 174)])
def test_scores_meet_over_the_same_pixels(key, geometry, stride, size):
    """Bilinear interpolation gives back what is linear in the position, away from borders.

    So if all maps say which pixel they are at, each logit is the sum of its own position, once per
    map; a crop that is off by a cell would show. Constant maps give constants.
    """
    config = make(geometry, num_classes=3, upsample_stride=stride, backbone=TINY_VGG)
    maps = ramps(config, size)
    logits = FCN(config).apply(scores(config, maps, key, np.eye(3)), maps)
    logits = api._to_image(config, logits, size)[0]
    rows, columns = np.mgrid[: size[0], : size[1]]
    expected = len(maps) * np.stack([rows, columns, np.ones_like(rows)], -1)
    interior = slice(48, 96)  # more than a cell of fc7 from its first and its last center
    assert_close(logits[interior, interior], expected[interior, interior], 1e-5)


# --- values --------------------------------------------------------------------------------------


def bilinear(x, factor, full):
    """[H,W,C] painted by tents 2 factor wide: all of it if full, or factor times the size."""
    height, width, channels = x.shape
    tent = [1 - abs(a - (factor - 0.5)) / factor for a in range(2 * factor)]
    out = np.zeros(((height + 1) * factor, (width + 1) * factor, channels))
    for i in range(height):
        for j in range(width):
            for a in range(2 * factor):
                for b in range(2 * factor):
                    out[factor * i + a, factor * j + b] += tent[a] * tent[b] * x[i, j]
    before = 0 if full else factor // 2
    return out if full else out[before:, before:][: factor * height, : factor * width]


CASCADES = {32: (), 16: (2,), 8: (2, 2)}  # "same" leaves the last upsampling to `api`
FIRST_PIXELS = {32: 19, 16: 27, 8: 31}


@pytest.mark.parametrize("geometry", ["same", "published"])
@pytest.mark.parametrize("stride", STRIDES)
def test_without_skip_scores_it_is_a_cascade_of_upsamplings(key, geometry, stride):
    """Freshly made score layers of skips are zero; FCN-8s is then 16s upsampled once more."""
    config = make(geometry, num_classes=2, upsample_stride=stride, backbone=TINY_VGG)
    rng = np.random.default_rng(0)
    maps = {
        tap: rng.normal(size=shape).astype(np.float32)
        for tap, shape in map_shapes(config, (32, 64)).items()
    }
    params = FCN(config).init(key, maps)["params"]
    deepest = "classifier" if stride == 32 else "score_fc7"
    kernel, bias = rng.normal(size=(3, 2)), rng.normal(size=2)
    params[deepest] = {
        "kernel": jnp.asarray(kernel, jnp.float32),
        "bias": jnp.asarray(bias, jnp.float32),
    }
    expected = reference.float64(maps["fc7"][0]) @ kernel + bias
    full = geometry == "published"
    for factor in CASCADES[stride] + ((stride,) if full else ()):
        expected = bilinear(expected, factor, full)
    first = FIRST_PIXELS[stride] if full else 0
    found = FCN(config).apply({"params": params}, maps)[0]
    height, width = found.shape[:2]
    assert_close(found, expected[first:, first:][:height, :width], 1e-5)
    shown = stride if not full else 1
    assert height * shown >= 32 and width * shown >= 64


def test_skips_are_scaled_before_they_are_scored(key):
    """The part of a skip is linear in its scale; the deepest map has none."""
    plain = FCNConfig(num_classes=3, backbone=TINY_VGG)
    scaled = FCNConfig(num_classes=3, backbone=TINY_VGG, skip_scales=(0.5, 0.25))
    maps = ramps(plain, (32, 32))
    variables = scores(plain, maps, key, np.eye(3))
    by_hand = maps | {"pool4": 0.5 * maps["pool4"], "pool3": 0.25 * maps["pool3"]}
    assert_close(FCN(scaled).apply(variables, maps), FCN(plain).apply(variables, by_hand), 1e-6)


# --- the config ----------------------------------------------------------------------------------


def test_taps_and_strides():
    assert FCNConfig(upsample_stride=32).taps == ("fc7",)
    assert FCNConfig(upsample_stride=16).taps == ("fc7", "pool4")
    assert FCNConfig().taps == ("fc7", "pool4", "pool3")
    assert (FCNConfig().stride, FCNConfig.published().stride) == (32, 1)
    assert FCNConfig().padded_size((360, 480)) == (384, 480)
    assert FCNConfig().output_stride == (8, 8)
    assert FCNConfig.published().output_stride == (1, 1)


def test_published_sets_both():
    config = FCNConfig.published(num_classes=3, backbone=TINY_VGG, upsample_stride=16)
    assert (config.geometry, config.num_classes, config.upsample_stride) == ("published", 3, 16)
    assert (config.backbone.border, config.backbone.fc_padding) == (99, "VALID")
    assert config.backbone.channels == TINY_VGG.channels


def test_dropout_is_the_backbones():
    assert FCNConfig().uses_dropout
    assert not FCNConfig(backbone=VGG16()).uses_dropout
    assert not FCNConfig(backbone=VGG16(trainable=True, dropout=0.0)).uses_dropout


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"upsample_stride": 4}, ("upsample_stride=4 is unknown; known are: 32, 16, 8",)),
        ({"geometry": "valid"}, ("known are: same, published",)),
        ({"backbone": None}, ("backbone=None", "give one")),
        ({"skip_scales": (1.0,)}, ("2 numbers above 0",)),
        ({"skip_scales": (1.0, 0.0)}, ("2 numbers above 0",)),
        ({"geometry": "published"}, ("geometry=published", "border=99 and fc_padding=VALID")),
        ({"backbone": VGG16(border=99)}, ("geometry=same", "border=0 and fc_padding=SAME")),
        ({"backbone": VGG16(fc_padding="VALID")}, ("geometry=same", "fc_padding=SAME")),
    ],
)
def test_impossible_networks_are_refused(changes, words):
    with pytest.raises(UserError) as error:
        FCNConfig(**changes)
    assert all(word in str(error.value) for word in words)
    assert "\n" not in str(error.value)
