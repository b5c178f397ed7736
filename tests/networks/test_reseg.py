"""The released code's variants of ReSeg and its modern ingredients: a law or oracle each."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.presets import PRESETS
from reseg_jax import api
from reseg_jax.backbones.preprocessing import preprocess
from reseg_jax.backbones.vgg import VGG, VGG16
from reseg_jax.inference import predict
from reseg_jax.labels import VOID, likeliest, void_as_class
from reseg_jax.networks.reseg import ReSegConfig
from reseg_jax.recurrent.renet import renet_layer
from reseg_jax.training.losses import Loss
from reseg_jax.training.step import create_state, make_train_step
from tests.recurrent.test_renet import image, parameters, single
from tests.support import reference, reference_training
from tests.support.networks import images_of, random_variables
from tests.support.reference import assert_close
from tests.test_parameter_tree import shapes

SKIPS = ReSegConfig(
    num_classes=3,
    backbone=VGG16(channels=(7, 8, 9, 10, 11)),
    tap="conv2_1",
    patch_sizes=((2, 2),),
    units=(3,),
    upsample_sizes=((2, 2), (2, 2)),
    upsample_channels=(5, 6),
    skips=("conv2_1", "conv1_2"),
)
PIXELS = ReSegConfig.no_vgg(
    num_classes=2,
    patch_sizes=((2, 2),),
    units=(3,),
    upsample_sizes=((2, 2),),
    upsample_channels=(4,),
)
variables = functools.cache(random_variables)

# --- the released code ---------------------------------------------------------------------------


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_a_chained_backward_sweep_reads_what_the_forward_one_gave(cell):
    params = parameters(4, cell)
    for axis in params:  # the backward kernel has a row for each unit of the forward sweep
        kernel = params[axis]["backward"]["input_kernel"]
        params[axis]["backward"]["input_kernel"] = kernel[:3]
    pixels = image(3, 5)
    expected = reference.renet_layer(params, pixels, (1, 2), cell, chained=True)
    found = renet_layer(single(params), single(pixels), (1, 2), cell, chained=True)
    assert_close(found, expected)


def test_the_released_network_has_its_parameters():
    """2,405,400 in all: the authors' file holds 800 zeros more, its initial states."""
    found = shapes(PRESETS["camvid_released"].config)
    assert sum(np.prod(shape) for shape in found.values()) == 2_405_400
    assert found["params/classifier/kernel"] == (50, 12)


def test_the_released_kernels_are_drawn_from_a_gaussian():
    config = ReSegConfig.no_vgg(units=(60, 3), initialization="normal")
    pair = api.init(config, jax.random.key(0))["params"]["renet_0"]["vertical"]["forward"]
    for name in ("input_kernel", "recurrent_kernel"):
        # The deviation of n draws is within 3 / sqrt(2 n) of 0.1 but for 3 in 1000.
        draws = np.asarray(pair[name])
        assert draws.std() == pytest.approx(0.1, rel=3 / np.sqrt(2 * draws.size))
        assert abs(draws.mean()) < 3 * 0.1 / np.sqrt(draws.size)
    assert not np.asarray(pair["bias"]).any()


def test_void_is_a_class_to_train_and_void_again_when_predicted():
    labels = np.uint8([[0, VOID], [2, 1]])
    np.testing.assert_array_equal(void_as_class(labels, 3), [[0, 3], [2, 1]])
    scores = np.eye(4)[[2, 3, 0]]
    np.testing.assert_array_equal(likeliest(scores, 3), [2, VOID, 0])
    config = dataclasses.replace(PIXELS, void_class=True)
    network = variables(config)
    biased = jax.tree.map(np.copy, network)
    biased["params"]["classifier"]["bias"][2] = 1e3
    frame = images_of(1, (4, 6))[0]
    assert (predict.predict(config, biased, frame) == VOID).all()
    assert predict.predict_probabilities(config, network, frame).shape == (4, 6, 3)


def as_network(function):
    """`function(params, dropout_key)` in the form that training takes a network in."""

    def logits_fn(variables, inputs, size, *, train=False, dropout_key=None, **others):
        logits = function(variables["params"], dropout_key)
        return (logits, {}) if train else logits

    return logits_fn


def test_trained_void_costs_what_its_class_costs():
    logits = np.random.default_rng(0).normal(size=(2, 3, 4, 3)).astype(np.float32)
    labels = np.uint8(np.random.default_rng(1).choice([0, 1, VOID], (2, 3, 4)))
    network = as_network(lambda params, key: params["kernel"] * logits)
    step = make_train_step(network, optax.sgd(0.0), Loss(void_class=2))
    state = create_state({"params": {"kernel": jnp.ones(())}}, optax.sgd(0.0))
    _, loss = step(state, {"image": 0, "label": labels, "weight": np.ones(2, np.float32)})
    expected = reference_training.cross_entropy(logits, np.where(labels == VOID, 2, labels)).mean()
    assert float(loss) == pytest.approx(expected, rel=1e-5)


# --- the modern ingredients ----------------------------------------------------------------------


def test_normalized_layers_do_not_see_the_scale_of_what_they_read():
    maps = {"pixels": np.random.default_rng(0).normal(size=(1, 4, 6, 3)).astype(np.float32)}
    for layer_norm in (True, False):
        config = dataclasses.replace(PIXELS, layer_norm=layer_norm)
        once, scaled = (
            api.head(config, variables(config), {"pixels": s * maps["pixels"]}, (4, 6))
            for s in (1, 50)
        )
        assert np.allclose(once, scaled, rtol=1e-3, atol=1e-3) == layer_norm


def test_taps_are_the_activations_of_their_layers():
    """Read from one pass, each is what a VGG that ends there gives for the padded image."""
    frame, network = images_of(1, (7, 9)), variables(SKIPS)
    maps = api.features(SKIPS, network, frame)
    assert {tap: found.shape for tap, found in maps.items()} == {
        "conv2_1": (1, 4, 5, 8),
        "conv1_2": (1, 8, 10, 7),
    }
    # Zeros after preprocessing, which are the mean color, where the stride of 2 adds pixels.
    pixels = np.pad(preprocess(frame, "caffe", "none"), ((0, 0), (0, 1), (0, 1), (0, 0)))
    for tap, found in maps.items():
        vgg = VGG(SKIPS.backbone, (tap,))
        assert_close(
            found, np.asarray(vgg.apply({"params": network["frozen"]["vgg"]}, pixels)[tap])
        )
        expected = reference.vgg(network["frozen"]["vgg"], pixels[0], tap)
        assert_close(found[0], expected, 1e-4)


def test_skips_join_the_upsampling_at_their_strides():
    """conv2_1 (stride 2) after the first upsampling from stride 4, conv1_2 after the second.

    Each is used: without its map the logits are others.
    """
    found = shapes(SKIPS)
    assert found["params/skip_conv2_1/kernel"] == (5 + 8, 5)
    assert found["params/skip_conv1_2/kernel"] == (6 + 7, 6)
    network = variables(SKIPS)
    maps = api.features(SKIPS, network, images_of(1, (7, 9)))
    logits = api.head(SKIPS, network, maps, (7, 9))
    assert logits.shape == (1, 7, 9, 3)
    assert np.isfinite(logits).all()
    without = {**maps, "conv1_2": 0 * maps["conv1_2"]}
    assert np.abs(api.head(SKIPS, network, without, (7, 9)) - logits).max() > 1e-2


def test_dropout_is_off_without_a_key_and_drawn_from_it():
    config = dataclasses.replace(PIXELS, dropout=0.5)
    network, frame = variables(config), images_of(1, (4, 6))
    keys = jax.random.split(jax.random.key(0), 2)
    off, first, again, other = (
        api.apply(config, network, frame, key) for key in (None, keys[0], keys[0], keys[1])
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0
    np.testing.assert_array_equal(off, api.apply(PIXELS, network, frame))


def test_training_drops_by_step_and_seed():
    """What a stopped run and one that went through must have in common."""
    dropped = nn.Dropout(0.5, deterministic=False)

    def logits(params, key):
        ones = dropped.apply({}, jnp.ones((1, 8, 8, 1)), rngs={"dropout": key})
        return params["kernel"] * jnp.concatenate([ones, 0 * ones], -1)

    batch = {"image": 0, "label": np.zeros((1, 8, 8), np.uint8), "weight": np.ones(1, np.float32)}
    start = create_state({"params": {"kernel": jnp.ones(())}}, optax.sgd(0.0))

    def losses(seed):
        step = make_train_step(as_network(logits), optax.sgd(0.0), Loss(), dropout_seed=seed)
        state, found = start, []
        for _ in range(2):
            state, loss = step(state, batch)
            found.append(float(loss))
        return found

    assert losses(0) == losses(0)
    assert len({*losses(0), *losses(1)}) == 4
