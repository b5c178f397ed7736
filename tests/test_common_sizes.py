"""Images in a larger array: what they give by themselves, whatever stands beyond them."""

import dataclasses

import jax
import numpy as np
import pytest

from reseg_jax import api
from reseg_jax.errors import UserError
from reseg_jax.inference import predict
from reseg_jax.inference.ensemble import Views, probabilities
from reseg_jax.networks.reseg import ReSegConfig
from reseg_jax.padding import CommonSizes, pad_to

SIZE, PADDED = (7, 11), (12, 16)

PIXELS = ReSegConfig.no_vgg(
    num_classes=3,
    patch_sizes=((2, 2), (2, 1)),
    units=(3, 2),
    upsample_sizes=((2, 2), (2, 1)),
    upsample_channels=(3, 3),
)
VGG = ReSegConfig(
    num_classes=3,
    tap="conv3_1",
    patch_sizes=((2, 2),),
    units=(3,),
    upsample_sizes=((2, 2),) * 3,
    upsample_channels=(3, 3, 3),
    skips=("conv3_1", "conv1_2"),
    refine=True,
    layer_norm=True,
)
LCN = dataclasses.replace(PIXELS, contrast="divisive")
# Ends at half the image's size, as Table 4 prints it, and is interpolated.
PRINTED = dataclasses.replace(PIXELS, upsample_sizes=((2, 2), (1, 1)))


def network(config, scale=3):
    """Variables large enough for far cells to be heard."""
    return jax.tree.map(lambda leaf: scale * leaf, api.init(config, jax.random.key(0)))


def noise(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def framed(image, size, beyond=200):
    """The image in an array whose rest is not 0."""
    placed = np.full((*size, 3), beyond, np.uint8)
    placed[: image.shape[0], : image.shape[1]] = image
    return placed


def assert_alone(config, variables, size=SIZE):
    image = noise(*size, 3)
    valid_size = np.asarray(size, np.int32)
    alone = api.apply(config, variables, image[None])[0]
    found = api.apply(config, variables, framed(image, PADDED)[None], valid_size=valid_size)[0]
    assert found.shape[:2] == PADDED
    np.testing.assert_allclose(found[: size[0], : size[1]], alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "config",
    [
        pytest.param(PIXELS, id="gru"),
        pytest.param(VGG, id="vgg"),
        *(
            pytest.param(dataclasses.replace(PIXELS, **change), id=name, marks=pytest.mark.slow)
            for name, change in (
                ("lstm", {"cell": "lstm", "order": ("horizontal", "vertical")}),
                ("mingru", {"cell": "mingru"}),
                ("chained", {"chained": True}),
                ("pointwise", {"context": "pointwise"}),
            )
        ),
    ],
)
def test_a_padded_image_gives_what_it_gives_alone(config):
    variables = network(config, scale=1 if config.backbone else 3)
    # Without its valid size the padding changes the result, or the law would say nothing.
    image = noise(*SIZE, 3)
    alone = api.apply(config, variables, image[None])[0]
    unaware = api.apply(config, variables, framed(image, PADDED)[None])[0, : SIZE[0], : SIZE[1]]
    if config.context == "renet":
        assert np.abs(unaware - alone).max() > 1e-3
    assert_alone(config, variables)


@pytest.mark.slow
@pytest.mark.parametrize("size", [(1, 1), (8, 16), (12, 3)])
def test_of_any_size(size):
    assert_alone(PIXELS, network(PIXELS), size)


@pytest.mark.slow
def test_divided_over_devices(row):
    with jax.set_mesh(row):
        assert_alone(PIXELS, network(PIXELS))


@pytest.mark.slow
def test_gradients_are_those_of_the_image_alone():
    variables, image = network(PIXELS), noise(*SIZE, 3)

    def loss(params, pixels, valid_size):
        logits = api.apply(PIXELS, {"params": params}, pixels[None], valid_size=valid_size)
        return (logits[0, : SIZE[0], : SIZE[1]] ** 2).mean()

    gradient = jax.grad(loss)
    alone = gradient(variables["params"], image, None)
    found = gradient(variables["params"], framed(image, PADDED), np.asarray(SIZE, np.int32))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), found, alone)


def test_images_of_many_sizes_share_a_program(monkeypatch):
    config = dataclasses.replace(PIXELS, units=(2, 2))
    variables, traced, apply = network(config), [], api.apply

    def counting(*arguments, **named):
        traced.append(1)
        return apply(*arguments, **named)

    monkeypatch.setattr(api, "apply", counting)
    for size in ((5, 7), (6, 9), (9, 4)):
        image = noise(*size, 3)
        labels = predict.predict(config, variables, image, padded_size=(10, 10))
        assert labels.shape == size
    assert len(traced) == 1
    alone = predict.predict(config, variables, image)
    np.testing.assert_array_equal(labels, alone)
    assert len(np.unique(alone)) > 1


@pytest.mark.slow
def test_averages_over_views_scale_the_padded_size():
    variables, image = network(PIXELS), noise(*SIZE, 3)
    views = Views(flip=True, scales=(0.5, 1, 1.3))
    alone = probabilities(PIXELS, [variables], image, views)
    found = probabilities(PIXELS, [variables], image, views, padded_size=PADDED)
    np.testing.assert_allclose(found, alone, atol=1e-5)
    found = predict.predict_probabilities(PIXELS, variables, image, padded_size=PADDED)
    np.testing.assert_allclose(found, probabilities(PIXELS, [variables], image), atol=1e-5)


@pytest.mark.parametrize("config", [LCN, PRINTED], ids=["contrast", "interpolated"])
@pytest.mark.slow
def test_a_network_without_exact_padding_takes_no_padded_size(config):
    with pytest.raises(UserError, match="must fill it: leave out valid_size and padded_size"):
        predict.predict(config, network(config), noise(*SIZE, 3), padded_size=PADDED)
    common = CommonSizes(config.exact_padding)
    sizes = [(40, 41), (40, 41), (39, 40)]
    assert [common.holding(size) for size in sizes] == sizes


def test_an_image_larger_than_the_padded_size_is_refused():
    with pytest.raises(UserError, match=r"\(7, 11\) do not fit padded_size=\(16, 8\)"):
        predict.predict(PIXELS, network(PIXELS), noise(*SIZE, 3), padded_size=(16, 8))


def test_images_of_one_size_are_not_padded():
    common = CommonSizes(PIXELS.exact_padding)
    assert [common.holding((361, 481)) for _ in range(3)] == [(361, 481)] * 3
    image = noise(1, 4, 5, 3)
    assert pad_to(image, (4, 5)) == (image, None)


def test_common_sizes_are_few_hold_their_images_and_waste_little():
    common, generator = CommonSizes(PIXELS.exact_padding), np.random.default_rng(0)
    sizes = [tuple(map(int, size)) for size in generator.integers(100, 500, (300, 2))]
    held = [common.holding(size) for size in sizes]
    for (height, width), (rows, columns) in zip(sizes, held, strict=True):
        assert rows >= height and columns >= width
        assert rows * columns <= 1.5625 * height * width
    assert len(set(sizes)) > 290 and len(set(held)) < 60


def test_a_new_common_size_has_round_sides():
    common = CommonSizes(PIXELS.exact_padding)
    assert common.holding((99, 99)) == (99, 99)  # the first of all
    assert common.holding((301, 211)) == (320, 224)  # to three binary digits
    assert common.holding((290, 200)) == (320, 224)
    assert common.holding((9, 1025)) == (10, 1280)
