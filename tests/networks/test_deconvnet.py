"""DeconvNet: its sizes, and the transposed convolution that undoes fc6."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reseg_jax import api
from reseg_jax.backbones.vgg import VGG16
from reseg_jax.errors import UserError
from reseg_jax.layers.conv import Convolution
from reseg_jax.networks.deconvnet import DeconvNetConfig
from tests.support import reference_layers
from tests.support.reference import assert_close


@pytest.mark.slow
def test_figure_2():
    """224x224 pixels are one cell of fc7, and 224x224 logits again; larger images have more."""
    config = DeconvNetConfig()
    tree = jax.eval_shape(lambda key: api.init(config, key), jax.random.key(0))
    for size, cells in (((224, 224), (1, 1)), ((100, 300), (1, 4)), ((360, 480), (6, 9))):
        images = jax.ShapeDtypeStruct((1, *size, 3), jnp.uint8)
        maps = jax.eval_shape(lambda v, x: api.features(config, v, x), tree, images)
        assert maps["fc7"].shape[1:3] == cells
        logits = jax.eval_shape(lambda v, x: api.apply(config, v, x), tree, images)
        assert logits.shape == (1, *size, 11)


def test_a_convolution_with_six_zeros_around_is_fc6_transposed(key):
    """It paints: a cell times the kernel, turned by 180 degrees, at each place."""
    x = np.random.default_rng(0).normal(size=(1, 2, 1, 2)).astype(np.float32)
    layer = Convolution(3, (7, 7), "VALID", use_bias=False)
    padded = np.pad(x, ((0, 0), (6, 6), (6, 6), (0, 0)))
    params = layer.init(key, padded)
    kernel = params["params"]["kernel"][::-1, ::-1]
    assert_close(layer.apply(params, padded), reference_layers.painted(x, kernel, 1), 1e-5)


def test_a_padded_fc6_is_refused():
    with pytest.raises(UserError, match="fc_padding=VALID"):
        DeconvNetConfig(backbone=VGG16(trainable=True))
