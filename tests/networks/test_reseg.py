"""The released code's variants of the network and the modern ingredients: a law or oracle each."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.presets import PRESETS
from reseg_jax import api
from reseg_jax.config import VOID, ReSegConfig
from reseg_jax.errors import UserError
from reseg_jax.inference import predict
from reseg_jax.labels import likeliest, void_as_class
from reseg_jax.networks import reseg
from reseg_jax.recurrent.renet import renet_layer
from reseg_jax.training.step import create_state, make_train_step
from tests.recurrent.test_renet import image, parameters, single
from tests.support import reference, reference_training, tiny
from tests.support.reference import assert_close
from tests.test_network_api import noise, variables
from tests.test_parameter_tree import shapes

SKIPS = ReSegConfig(
    num_classes=3,
    vgg_layer="conv2_1",
    patch_sizes=((2, 2),),
    units=(3,),
    upsample_sizes=((2, 2), (2, 2)),
    upsample_channels=(5, 6),
    skips=("conv2_1", "conv1_2"),
)

# --- the released code ----------------------------------------------------------------------------


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
    config = dataclasses.replace(tiny.CONFIG, void_class=True)
    network = variables(config)
    biased = jax.tree.map(np.copy, network)
    biased["params"]["classifier"]["bias"][2] = 1e3
    picture = noise(4, 6)[0]
    assert (predict.predict(config, biased, picture) == VOID).all()
    assert predict.predict_probabilities(config, network, picture).shape == (4, 6, 3)


def test_trained_void_costs_what_its_class_costs():
    logits = np.random.default_rng(0).normal(size=(2, 3, 4, 3)).astype(np.float32)
    labels = np.uint8(np.random.default_rng(1).choice([0, 1, VOID], (2, 3, 4)))

    def logits_fn(variables, images, size):
        return variables["params"]["kernel"] * logits

    step = make_train_step(logits_fn, optax.sgd(0.0), void_class=2)
    state = create_state({"params": {"kernel": jnp.ones(())}}, optax.sgd(0.0))
    _, loss = step(state, {"image": 0, "label": labels, "weight": np.ones(2, np.float32)})
    expected = reference_training.cross_entropy(logits, np.where(labels == VOID, 2, labels)).mean()
    assert float(loss) == pytest.approx(expected, rel=1e-5)


# --- the modern ingredients -----------------------------------------------------------------------


def test_normalised_layers_do_not_see_the_scale_of_what_they_read():
    config = dataclasses.replace(tiny.CONFIG, layer_norm=True)
    features = np.random.default_rng(0).normal(size=(1, 4, 6, 3)).astype(np.float32)
    network = variables(config)
    plain, scaled = (api.head(config, network, s * features, (4, 6)) for s in (1, 50))
    np.testing.assert_allclose(plain, scaled, rtol=1e-3, atol=1e-3)


def test_taps_are_the_activations_of_their_layers():
    picture = noise(7, 9)
    network = variables(SKIPS)
    last, *taps = api.features(SKIPS, network, picture)
    assert [tap.shape for tap in (last, *taps)] == [(1, 4, 5, 128), (1, 4, 5, 128), (1, 8, 10, 64)]
    np.testing.assert_array_equal(last, taps[0])
    shallow = ReSegConfig(vgg_layer="conv1_2", num_classes=3)
    expected = api.features(shallow, network, np.pad(picture, ((0, 0), (0, 1), (0, 1), (0, 0))))
    # What was padded is black there and the mean colour here; two convolutions see two pixels far.
    np.testing.assert_allclose(taps[1][:, :5, :7], expected[:, :5, :7], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("normalize", [False, True])
def test_a_skip_mixes_both_maps_and_pads_at_the_far_ends(normalize):
    rng = np.random.default_rng(0)
    x, skip = rng.normal(size=(1, 4, 6, 5)), rng.normal(size=(1, 3, 5, 7))
    kernel, bias = rng.normal(size=(12, 5)), rng.normal(size=5)
    params = {"kernel": kernel, "bias": bias}
    padded = np.zeros((1, 4, 6, 7))
    padded[:, :3, :5] = skip
    if normalize:
        centred = skip - skip.mean(-1, keepdims=True)
        padded[:, :3, :5] = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    expected = np.maximum(np.concatenate([x, padded], -1) @ kernel + bias, 0)
    found = reseg.Skip(normalize).apply({"params": single(params)}, single(x), single(skip))
    assert_close(found, expected)


def test_a_refined_skip_adds_a_convolution_of_what_lies_inside():
    rng = np.random.default_rng(0)
    x, skip, mix = rng.normal(size=(1, 4, 6, 5)), rng.normal(size=(1, 4, 6, 2)), np.eye(7, 5)
    kernel, bias = rng.normal(size=(3, 3, 5, 5)), rng.normal(size=5)
    params = {"kernel": mix, "bias": np.zeros(5), "refine": {"kernel": kernel, "bias": bias}}
    mixed = np.maximum(x, 0)
    seen = np.zeros((1, 6, 8, 5))
    seen[:, 1:4, 1:6] = mixed[:, :3, :5]  # zeros around three rows and five columns
    sums = sum(seen[:, a : a + 4, b : b + 6] @ kernel[a, b] for a in range(3) for b in range(3))
    found = reseg.Skip(False, refine=True).apply(
        {"params": single(params)}, single(x), single(skip), np.int32([3, 5])
    )
    assert_close(found[:, :3, :5], np.maximum(mixed + sums + bias, 0)[:, :3, :5])


def test_skips_join_the_upsampling_at_their_strides():
    """conv2_1 (stride 2) after the first upsampling from stride 4, conv1_2 after the second."""
    found = shapes(SKIPS)
    assert found["params/skip_conv2_1/kernel"] == (5 + 128, 5)
    assert found["params/skip_conv1_2/kernel"] == (6 + 64, 6)
    logits = jax.jit(lambda v, x: api.apply(SKIPS, v, x))(variables(SKIPS), noise(7, 9))
    assert logits.shape == (1, 7, 9, 3)
    assert np.isfinite(logits).all()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"skips": ("conv4_1",)}, "'conv4_1' is not computed on the way to vgg_layer=conv2_1"),
        ({"upsample_sizes": ((4, 4), (1, 1))}, "conv2_1 has stride 2, but .* through 1, 1 alone"),
        ({"skips": (), "refine": True}, "refine=True is of skips, and there are none"),
        ({"dropout": 1.0}, "dropout=1.0: give a share"),
        ({"skips": (), "cell": "mingru", "initialization": "normal"}, "mingru has none"),
    ],
)
def test_ingredients_that_cannot_be_are_refused(changes, words):
    with pytest.raises(UserError, match=words):
        dataclasses.replace(SKIPS, **changes)


def test_dropout_is_off_without_a_key_and_drawn_from_it():
    config = dataclasses.replace(tiny.CONFIG, dropout=0.5)
    network, picture = variables(config), noise(4, 6)
    keys = jax.random.split(jax.random.key(0), 2)
    off, first, again, other = (
        api.apply(config, network, picture, key) for key in (None, keys[0], keys[0], keys[1])
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0
    np.testing.assert_array_equal(off, api.apply(tiny.CONFIG, network, picture))


def test_training_drops_by_step_and_seed():
    """What a stopped run and one that went through must have in common."""
    dropped = nn.Dropout(0.5, deterministic=False)

    def logits_fn(variables, images, size, key):
        ones = dropped.apply({}, jnp.ones((1, 8, 8, 1)), rngs={"dropout": key})
        return variables["params"]["kernel"] * jnp.concatenate([ones, 0 * ones], -1)

    batch = {"image": 0, "label": np.zeros((1, 8, 8), np.uint8), "weight": np.ones(1, np.float32)}
    start = create_state({"params": {"kernel": jnp.ones(())}}, optax.sgd(0.0))

    def losses(seed):
        step = make_train_step(logits_fn, optax.sgd(0.0), dropout_seed=seed)
        state, found = start, []
        for _ in range(2):
            state, loss = step(state, batch)
            found.append(float(loss))
        return found

    assert losses(0) == losses(0)
    assert len({*losses(0), *losses(1)}) == 4
