"""VGG-16 against a convolution in plain loops, and how pixels enter."""

import jax
import numpy as np
import pytest
from PIL import Image

from reseg_jax import api
from reseg_jax.backbones.vgg import VGG, preprocess
from reseg_jax.config import VGG_LAYERS, ReSegConfig
from tests.support import reference
from tests.support.reference import assert_close

CHANNELS = [64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]


def random_vgg(layer, key):
    """A VGG up to `layer` with random weights and biases: a missing one must show."""
    module, rng = VGG(layer), np.random.default_rng(0)
    zeros = np.zeros((1, 1, 1, 3), np.float32)

    def value(leaf):
        inputs = np.prod(leaf.shape[:-1]) if len(leaf.shape) > 1 else 10
        return rng.normal(size=leaf.shape, scale=(2 / inputs) ** 0.5).astype(np.float32)

    return module, jax.tree.map(value, jax.eval_shape(module.init, key, zeros)["params"])


@pytest.mark.parametrize(
    ("layer", "size"), [("conv1_1", (3, 5)), ("conv2_1", (5, 7)), ("conv4_1", (11, 13))]
)
def test_random_weights_equal_the_loops(layer, size, key):
    """Odd sizes: zeros at the bottom and the right make up for what the stride leaves over."""
    module, params = random_vgg(layer, key)
    x = np.random.default_rng(1).normal(size=(1, *size, 3)).astype(np.float32)
    stride = VGG_LAYERS[layer][1]
    padded = np.pad(x[0], ((0, -size[0] % stride), (0, -size[1] % stride), (0, 0)))
    found = module.apply({"params": params}, x)
    assert found.shape[1:3] == (-(-size[0] // stride), -(-size[1] // stride))
    assert_close(found[0], reference.vgg(params, padded, layer), 1e-5)


def test_layers_are_those_of_column_d():
    """Thirteen convolutions; channels and strides of table 1 of the VGG paper."""
    names = [name for name in reference.VGG16 if name != "pool"]
    assert list(VGG_LAYERS) == names
    assert [channels for channels, _ in VGG_LAYERS.values()] == CHANNELS
    strides = [2 ** reference.VGG16[: reference.VGG16.index(name)].count("pool") for name in names]
    assert [stride for _, stride in VGG_LAYERS.values()] == strides


def test_all_thirteen_layers_have_the_known_shapes(key):
    """14,714,688 parameters: the published size of the convolutional part."""
    zeros = np.zeros((1, 1, 1, 3), np.float32)
    params = jax.eval_shape(VGG("conv5_3").init, key, zeros)["params"]
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 14_714_688
    inputs = [3, *CHANNELS[:-1]]
    shapes = {name: tree["kernel"].shape for name, tree in params.items()}
    expected = zip(VGG_LAYERS, inputs, CHANNELS, strict=True)
    assert shapes == {name: (3, 3, a, b) for name, a, b in expected}


def test_real_weights_equal_the_loops_on_a_real_crop(vgg_weights_path, real_data):
    frames = sorted((real_data / "camvid" / "train").glob("*"))
    if not frames:
        pytest.skip(f"no CamVid frames in {real_data}")
    with Image.open(frames[0]) as frame:
        crop = np.asarray(frame.convert("RGB"))[150:174, 200:224]
    with np.load(vgg_weights_path) as weights:
        params = {}
        for name in weights:
            layer, kind = name.split("/")
            params.setdefault(layer, {})[kind] = weights[name]
    config = ReSegConfig(preprocessing="torchvision")
    found = api.features(config, {"frozen": {"vgg": params}}, crop[None])[0]
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    expected = reference.vgg(params, (crop / 255 - mean) / deviation, "conv3_3")
    assert expected.shape == (6, 6, 256)
    assert (expected > 0).mean() > 0.05
    assert_close(found, expected, 1e-4)


# One red-ish pixel, by hand; published constants of Caffe's and torchvision's models.
PIXEL = (200, 100, 50)
ENTERED = {
    "caffe": (50 - 103.939, 100 - 116.779, 200 - 123.68),
    "torchvision": (
        (200 / 255 - 0.485) / 0.229,
        (100 / 255 - 0.456) / 0.224,
        (50 / 255 - 0.406) / 0.225,
    ),
    "unit": (200 / 255, 100 / 255, 50 / 255),
}


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.int32])
@pytest.mark.parametrize("name", ENTERED)
def test_preprocessing_by_hand(name, dtype):
    images = np.full((1, 2, 2, 3), PIXEL, dtype)
    entered = preprocess(jax.numpy.asarray(images), name)
    assert entered.dtype == np.float32
    np.testing.assert_allclose(entered[0, 1, 0], ENTERED[name], rtol=1e-5)
