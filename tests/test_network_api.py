"""ReSeg through `reseg_jax.api`: sizes, alignment, and a run through the oracle. All tiny.

What every network must do is in tests/networks/test_every_network.py.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reseg_jax import api
from reseg_jax.backbones.vgg import VGG16
from reseg_jax.errors import UserError
from reseg_jax.networks.reseg import ReSegConfig
from reseg_jax.recurrent.execution import Execution
from reseg_jax.training import losses
from tests.support import reference
from tests.support.networks import images_of, random_variables
from tests.support.reference import assert_close

# Two layers with patches that are no squares, all layers of different width.
TINY = ReSegConfig(
    num_classes=3,
    backbone=VGG16(channels=(7, 8, 9, 10, 11)),
    tap="conv2_1",
    patch_sizes=((1, 2), (2, 1)),
    units=(3, 4),
    upsample_sizes=((2, 2), (2, 2)),
    upsample_channels=(5, 6),
)
TRAINED_VGG = dataclasses.replace(TINY.backbone, trainable=True)
# A cell is one 2x3 patch, and no cell sees another.
BLOCKS = ReSegConfig.no_vgg(
    num_classes=3,
    context="pointwise",
    patch_sizes=((2, 3),),
    units=(8,),
    upsample_sizes=((2, 3),),
    upsample_channels=(8,),
)
variables = functools.cache(random_variables)


# --- sizes ---------------------------------------------------------------------------------------

SIZES = [(1, 1), (1, 7), (5, 3), (8, 8), (13, 10), (360, 480)]


@pytest.mark.parametrize(
    "config",
    [
        ReSegConfig(),
        ReSegConfig(patch_sizes=((2, 2), (1, 1))),  # as Table 4 prints it: ends at half size
        ReSegConfig.no_vgg(patch_sizes=((3, 5), (2, 1)), upsample_sizes=((2, 2), (1, 3))),
        ReSegConfig(tap="conv1_2", upsample_sizes=((2, 2),), upsample_channels=(4,)),
        BLOCKS,
    ],
)
def test_logits_have_the_size_of_the_image(config):
    """Whether the upsampling undoes the strides, falls short of them or overshoots."""
    tree = jax.eval_shape(functools.partial(api.init, config), jax.random.key(0))
    for size in SIZES:
        images = jax.ShapeDtypeStruct((2, *size, 3), jnp.uint8)
        logits = jax.eval_shape(functools.partial(api.apply, config), tree, images)
        assert logits.shape == (2, *size, config.num_classes)
        assert logits.dtype == jnp.float32


@pytest.mark.parametrize("shape", [(4, 4, 3), (1, 4, 4), (1, 4, 4, 4), (1, 0, 4, 3), (0, 4, 4, 3)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(UserError, match=r"give \[batch, height, width, 3\] RGB"):
        api.apply(BLOCKS, variables(BLOCKS), np.zeros(shape, np.uint8))


# --- values --------------------------------------------------------------------------------------


def through_the_oracle(config, variables, image):
    """Logits of one image [H,W,3] by the loops of `reference`, padded and cropped by hand."""
    params = variables["params"]
    x = image[..., ::-1] - np.array([103.939, 116.779, 123.68])
    height, width = image.shape[:2]
    if config.backbone:
        x = np.pad(x, ((0, height % 2), (0, width % 2), (0, 0)))  # conv2_1 has stride 2
        x = reference.vgg((variables.get("frozen") or params)["vgg"], x, config.tap)
    x = x[None]
    for i, size in enumerate(config.patch_sizes):
        x = reference.renet_layer(params[f"renet_{i}"], x, size, config.cell, config.order)
    for i in range(len(config.upsample_sizes)):
        x = np.maximum(reference.transposed_conv(x, **params[f"upsample_{i}"]), 0)
    classifier = reference.float64(params["classifier"])
    return (x @ classifier["kernel"] + classifier["bias"])[0, :height, :width]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"cell": "lstm", "order": ("horizontal", "vertical"), "backbone": TRAINED_VGG},
        {"cell": "rnn", "execution": Execution(unroll=2, remat=True)},
        {"cell": "gru", "execution": Execution(unroll="all")},
        {"cell": "mingru"},
    ],
)
def test_network_equals_the_oracle(changes):
    config, image = dataclasses.replace(TINY, **changes), images_of(1, (5, 7))
    # Far from the origin a GRU on pixels saturates; the small VGG here keeps its range.
    expected = through_the_oracle(config, variables(config), image[0])
    found = api.apply(config, variables(config), image)[0]
    assert np.ptp(expected) > 0.1
    assert_close(found, expected, 1e-4)


@pytest.mark.parametrize("config", [TINY, BLOCKS])
def test_integer_and_float_pixels_are_the_same_pixels(config):
    image = images_of(1, (6, 6))
    found = api.apply(config, variables(config), image.astype(np.float32))
    np.testing.assert_array_equal(found, api.apply(config, variables(config), image))


def test_features_are_maps_of_the_padded_image():
    """They may be kept as NumPy arrays, which `head` takes again."""
    image = images_of(1, (5, 7))
    maps = {tap: np.asarray(x) for tap, x in api.features(TINY, variables(TINY), image).items()}
    assert {tap: x.shape for tap, x in maps.items()} == {"conv2_1": (1, 3, 4, 8)}
    found = api.head(TINY, variables(TINY), maps, (5, 7))
    np.testing.assert_array_equal(found, api.apply(TINY, variables(TINY), image))


def test_pointwise_names_its_layers_as_renet_does():
    assert set(variables(BLOCKS)["params"]) == {"renet_0", "upsample_0", "classifier"}


# --- alignment: what belongs to a pixel comes out at that pixel ---------------------------------


@pytest.mark.parametrize("place", [(0, 0), (3, 4), (6, 7)])
def test_without_context_a_pixel_changes_its_own_patch_only(place):
    """On 7x8 pixels in 2x3 patches: the last row and column of patches are padded."""
    image = np.full((1, 7, 8, 3), 128, np.uint8)
    changed = image.copy()
    changed[0, *place] = (255, 0, 90)
    before, after = (api.apply(BLOCKS, variables(BLOCKS), x) for x in (image, changed))
    rows, columns = np.nonzero(np.abs(after - before)[0].max(axis=-1))
    top, left = place[0] // 2 * 2, place[1] // 3 * 3
    assert set(rows) == set(range(top, min(top + 2, 7)))
    assert set(columns) == set(range(left, min(left + 3, 8)))


@pytest.mark.parametrize("cut", [np.s_[:, 2:, 3:], np.s_[:, :4, :6], np.s_[:, 4:6, 3:]])
def test_without_context_cutting_whole_cells_off_cuts_the_logits(cut):
    """Also if what is left has to be padded (7x8 pixels in cells of 2x3)."""
    image = images_of(1, (7, 8))
    logits = api.apply(BLOCKS, variables(BLOCKS), image)
    found = api.apply(BLOCKS, variables(BLOCKS), image[cut])
    np.testing.assert_allclose(found, logits[cut], atol=1e-5)


def test_moving_the_image_by_the_vgg_stride_moves_the_logits():
    """Up to what the borders can reach: conv2_1 sees 5 pixels around its own two."""
    config = dataclasses.replace(
        TINY, context="pointwise", patch_sizes=((1, 1),), units=(4,), upsample_sizes=((2, 2),),
        upsample_channels=(4,),
    )  # fmt: skip
    image = images_of(1, (21, 23))
    logits = api.apply(config, variables(config), image)
    moved = api.apply(config, variables(config), image[:, 2:, 2:])
    inner = np.s_[:, 6:-6, 6:-6]
    difference = np.abs(moved - logits[:, 2:, 2:])
    assert difference[inner].max() < 1e-4 * np.abs(logits).max()
    assert difference.max() > 1e-2 * np.abs(logits).max()  # at the borders, where the cut shows


@pytest.mark.parametrize("upsample", [(1, 1), (2, 2), (4, 4)])
def test_logits_are_centered_on_their_cell_if_upsampling_does_not_undo_the_stride(upsample):
    """Cells of 2x2, upsampled to 1, 2 or 4: resized to 2, pixel centers aligned, no drift.

    9x11 pixels have 5x6 cells; what cell (2, 3) changes has its center at rows 4..5, columns
    6..7: (4.5, 6.5).
    """
    config = dataclasses.replace(BLOCKS, patch_sizes=((2, 2),), upsample_sizes=(upsample,))
    params = jax.tree.map(np.copy, variables(config))
    # All pixels of a cell alike, so that the cell has a center.
    kernel = params["params"]["upsample_0"]["kernel"]
    params["params"]["upsample_0"]["kernel"] = np.broadcast_to(kernel[:1, :1], kernel.shape)
    image = np.full((1, 9, 11, 3), 128, np.uint8)
    changed = image.copy()
    changed[0, 4:6, 6:8] = (255, 0, 90)
    before, after = (api.apply(config, params, x) for x in (image, changed))
    weight = np.abs(after - before)[0].sum(axis=-1)
    assert weight.max() > 1e-3
    assert np.average(np.arange(9), weights=weight.sum(axis=1)) == pytest.approx(4.5, abs=1e-3)
    assert np.average(np.arange(11), weights=weight.sum(axis=0)) == pytest.approx(6.5, abs=1e-3)


def test_with_context_every_pixel_sees_every_pixel():
    """The ReNet layers' whole point, and what their 1x1 stand-ins lack."""
    config = dataclasses.replace(BLOCKS, context="renet")
    image = np.full((1, 7, 8, 3), 128, np.uint8)
    changed = image.copy()
    changed[0, 6, 7] = (255, 0, 90)
    before, after = (api.apply(config, variables(config), x) for x in (image, changed))
    assert (np.abs(after - before)[0].max(axis=-1) > 0).all()


# --- transformations -----------------------------------------------------------------------------


def test_jit_with_a_static_config_compiles_once():
    """Equal configs are one config, whichever object they are."""
    traced = []

    @functools.partial(jax.jit, static_argnums=0)
    def apply(config, variables, images):
        traced.append(config)
        return api.apply(config, variables, images)

    image = images_of(1, (7, 8))
    found = apply(BLOCKS, variables(BLOCKS), image)
    apply(dataclasses.replace(BLOCKS), variables(BLOCKS), images_of(1, (7, 8), seed=1))
    assert len(traced) == 1
    np.testing.assert_allclose(found, api.apply(BLOCKS, variables(BLOCKS), image), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["gru", "lstm", "rnn", "mingru"])
def test_loss_has_a_finite_gradient_in_every_parameter(cell):
    config = dataclasses.replace(TINY, backbone=TRAINED_VGG, cell=cell)
    image, labels = images_of(2, (6, 8)), np.random.default_rng(0).integers(0, 3, (2, 6, 8))

    def loss(params):
        logits = api.apply(config, {"params": params}, image)
        return losses.cross_entropy(logits, labels).mean()

    gradient = jax.jit(jax.grad(loss))(variables(config)["params"])
    for path, leaf in jax.tree.leaves_with_path(gradient):
        assert np.isfinite(leaf).all(), path
        assert np.any(leaf), path


@pytest.mark.slow
def test_the_program_does_not_grow_with_the_image():
    """Counted in lines of what is traced: a sweep is one loop however many steps it has."""
    config = dataclasses.replace(TINY, backbone=TRAINED_VGG)

    def lines(height, width):
        def loss(params, images):
            return api.apply(config, {"params": params}, images).sum()

        images = jax.ShapeDtypeStruct((1, height, width, 3), jnp.uint8)
        program = jax.make_jaxpr(jax.grad(loss))(variables(config)["params"], images)
        return sum(1 for line in str(program).splitlines() if " = " in line)

    assert 100 < lines(32, 48) == lines(16, 24)
