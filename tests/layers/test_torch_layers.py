"""PyTorch's answers, goldens/make_torch_layers.py, by the layers and the names that we have."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from reseg_jax import api
from reseg_jax.backbones.resnet import Bottleneck
from reseg_jax.backbones.resnet_reader import torchvision_name
from reseg_jax.backbones.vgg import VGG, VGG16
from reseg_jax.layers.conv import Convolution
from reseg_jax.layers.pooling import max_pool_centered, max_pool_with_switches, unpool
from reseg_jax.layers.pyramid import average_bins
from reseg_jax.networks.pspnet import PSPNetConfig
from tests.support.goldens import GOLDENS

TOLERANCE = {"rtol": 1e-4, "atol": 1e-4}


@functools.cache
def golden():
    with np.load(GOLDENS / "torch_layers.npz") as file:
        return dict(file)


def case(name):
    """(x, y, {name: tensor}) of a case."""
    found = {
        key.removeprefix(f"{name}/"): array
        for key, array in golden().items()
        if key.startswith(f"{name}/")
    }
    return jnp.asarray(found.pop("x")), found.pop("y"), found


def ours(tensor):
    """A kernel [D, C, h, w] as [h, w, C, D]; others as they are."""
    return tensor.transpose(2, 3, 1, 0) if tensor.ndim == 4 else tensor


@pytest.mark.parametrize(
    ("name", "how"),
    [("identity", {}), ("projection", {}), ("stride", {"stride": 2}), ("dilated", {"dilation": 2})],
)
def test_bottleneck_block(name, how):
    x, y, tensors = case(name)
    block = Bottleneck(4, **how)
    shapes = jax.eval_shape(functools.partial(block.init, train=False), jax.random.key(0), x)
    read = {
        kind: unflatten_dict(
            {
                path: ours(tensors[torchvision_name(f"stage2_1/{path}").removeprefix("layer1.0.")])
                for path in flatten_dict(tree, sep="/")
            },
            sep="/",
        )
        for kind, tree in shapes.items()
    }
    assert len(jax.tree.leaves(read)) == len(tensors)
    np.testing.assert_allclose(block.apply(read, x, train=False), y, **TOLERANCE)


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("stem", Convolution(4, (7, 7), stride=2, use_bias=False)),
        ("dilated_convolution", Convolution(4, dilation=4)),
    ],
)
def test_convolution(name, layer):
    x, y, tensors = case(name)
    params = {"kernel": ours(tensors["weight"])}
    if "bias" in tensors:
        params["bias"] = tensors["bias"]
    np.testing.assert_allclose(layer.apply({"params": params}, x), y, **TOLERANCE)


def test_block_of_vgg_with_batch_normalization():
    x, y, tensors = case("vgg")
    module = VGG(VGG16(batch_norm=True, channels=(5, 5, 5, 5, 5)), ("pool1",))
    params, stats = {}, {}
    for index, place in ((1, 0), (2, 3)):
        params[f"conv1_{index}"] = {
            "kernel": ours(tensors[f"{place}.weight"]),
            "bias": tensors[f"{place}.bias"],
        }
        params[f"bn1_{index}"] = {
            "scale": tensors[f"{place + 1}.weight"],
            "bias": tensors[f"{place + 1}.bias"],
        }
        stats[f"bn1_{index}"] = {
            "mean": tensors[f"{place + 1}.running_mean"],
            "var": tensors[f"{place + 1}.running_var"],
        }
    found = module.apply({"params": params, "batch_stats": stats}, x)["pool1"]
    np.testing.assert_allclose(found, y, **TOLERANCE)


@pytest.mark.parametrize("size", ["9x16", "7x5", "4x3"])
@pytest.mark.parametrize("bins", [1, 2, 3, 6])
def test_adaptive_average_pooling(bins, size):
    x, y, _ = case(f"bins_{bins}_of_{size}")
    np.testing.assert_allclose(average_bins(x, bins), y, **TOLERANCE)


def test_max_pooling_around_pixels():
    x, y, _ = case("centered_pool")
    np.testing.assert_array_equal(max_pool_centered(x, 3, 2), y)


def test_max_unpooling():
    x, y, _ = case("unpool")
    np.testing.assert_array_equal(unpool(*max_pool_with_switches(x), x.shape[1:3]), y)


def test_logits_with_cells_on_the_corners():
    x, y, _ = case("corners")
    config = PSPNetConfig()
    assert config.padded_size((24, 30)) == (25, 33)
    found = api._to_image(config, x, (24, 30))
    np.testing.assert_allclose(found, y[:, :24, :30], **TOLERANCE)


def test_interpolation_between_middles():
    """As a pyramid's bins are enlarged."""
    x, y, _ = case("middles")
    found = jax.image.resize(x, y.shape, "linear", antialias=False)
    np.testing.assert_allclose(found, y, **TOLERANCE)
