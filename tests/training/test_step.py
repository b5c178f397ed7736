"""One update: what it lowers, what it leaves alone, what it compiles."""

import dataclasses

import jax
import numpy as np
import pytest

from reseg_jax import api
from reseg_jax.backbones.vgg import VGG16
from reseg_jax.labels import VOID
from reseg_jax.training import losses, optimizers
from reseg_jax.training.step import create_state, first_bad_leaf, make_train_step, score
from tests.support import tiny


def flat(tree):
    return {jax.tree_util.keystr(k): np.asarray(v) for k, v in jax.tree.leaves_with_path(tree)}


@pytest.fixture(scope="module")
def trained():
    """A VGG network before and after three updates on one batch."""
    optimizer, train_step, _ = tiny.steps(tiny.VGG_CONFIG)
    first = create_state(api.init(tiny.VGG_CONFIG, jax.random.key(0)), optimizer)
    state, seen = first, []
    for _ in range(3):
        state, loss = train_step(state, tiny.Batches().batch(0))
        seen.append(float(loss))
    return first, state, seen, train_step


def test_updates_lower_the_loss_and_count_themselves(trained):
    _, state, seen, _ = trained
    assert seen[2] < seen[1] < seen[0]
    assert int(state.step) == 3


def test_the_second_step_compiles_nothing(trained):
    assert trained[3]._cache_size() == 1


def test_frozen_weights_stay_and_all_others_move(trained):
    first, state, *_ = trained
    before, after = flat(first.variables), flat(state.variables)
    moved = {name for name in before if not np.array_equal(before[name], after[name])}
    assert {name for name in before if "frozen" in name} == {
        "['frozen']['vgg']['conv1_1']['bias']",
        "['frozen']['vgg']['conv1_1']['kernel']",
    }
    assert moved == {name for name in before if "frozen" not in name}
    assert not any("vgg" in name for name in flat(state.opt_state))


@pytest.mark.slow
def test_a_trained_backbone_moves(key):
    config = dataclasses.replace(tiny.VGG_CONFIG, backbone=VGG16(trainable=True))
    optimizer, train_step, _ = tiny.steps(config)
    state = create_state(api.init(config, key), optimizer)
    after, _ = train_step(state, tiny.Batches().batch(0))
    before, after = (s.variables["params"]["vgg"]["conv1_1"]["kernel"] for s in (state, after))
    assert not np.array_equal(before, after)


def linear(variables, images, size, *, train=False, **_):
    """A network whose logits are its inputs times a kernel: the loss is known by hand."""
    logits = images @ variables["params"]["kernel"]
    return (logits, {}) if train else logits


@pytest.mark.parametrize("jaccard", [0.0, 0.3])
def test_loss_is_the_weighted_mean_of_image_sums_plus_l2_and_jaccard(key, jaccard):
    kernel = jax.random.normal(key, (3, 2))
    images = jax.random.normal(key, (3, 2, 2, 3))
    labels = np.array([[[0, 1], [VOID, 1]], [[1, 1], [0, 0]], [[0, 0], [0, 0]]], np.uint8)
    weight = np.array([1, 1, 0], np.float32)  # the third only fills the batch up
    optimizer = optimizers.make("sgd", 1.0)
    train_step = make_train_step(linear, optimizer, losses.Loss(l2=0.1, jaccard=jaccard))
    state = create_state({"params": {"kernel": kernel}}, optimizer)
    state, loss = train_step(state, {"image": images, "label": labels, "weight": weight})

    def by_hand(kernel):
        per_image = losses.cross_entropy(images[:2] @ kernel, labels[:2])
        per_class = losses.soft_jaccard(images[:2] @ kernel, labels[:2])
        return per_image.sum() / 2 + 0.1 * (kernel**2).sum() + jaccard * 4 * per_class

    expected, gradient = jax.value_and_grad(by_hand)(kernel)
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    np.testing.assert_allclose(state.variables["params"]["kernel"], kernel - gradient, rtol=1e-5)


def test_auxiliary_logits_are_a_share_of_the_loss():
    """Zhao et al. 2017: 0.4 of the cross-entropy of every auxiliary output."""
    images, labels = np.ones((1, 2, 2, 3), np.float32), np.zeros((1, 2, 2), np.uint8)
    kernel = np.float32([[0, 1], [0, 0], [0, 0]])
    batch = {"image": images, "label": labels, "weight": np.ones(1, np.float32)}

    def with_auxiliary(variables, images, size, *, train=False, **_):
        logits = images @ variables["params"]["kernel"]
        return logits, {"aux": {"deep": 2 * logits}}

    optimizer = optimizers.make("sgd", 0.0)
    update = make_train_step(with_auxiliary, optimizer, losses.Loss(auxiliary=0.4))
    _, loss = update(create_state({"params": {"kernel": kernel}}, optimizer), batch)
    # Of class 0: -log(1 / (1 + e)) at every one of 4 pixels, and with twice the logits.
    assert loss == pytest.approx(4 * np.log1p(np.e) + 0.4 * 4 * np.log1p(np.e**2), rel=1e-6)


def test_score_counts_real_images_only_and_no_padding():
    images, labels = tiny.images_and_labels(3)
    full = labels[0].shape
    batch = {"image": images, "label": labels, "size": [full, (0, 0), (full[0], 1)]}
    perfect = {id(images): labels}
    matrix = score(lambda _, inputs, size, valid_size: perfect[id(inputs)] % VOID, {}, [batch], 2)
    assert matrix.sum() == labels[0].size + full[0]
    assert matrix[0, 1] == matrix[1, 0] == 0
    void = (labels[0] == VOID).sum() + (labels[2, :, 0] == VOID).sum()
    assert matrix[2].sum() == void > 0


def test_first_bad_leaf_names_the_parameter():
    good = {"a": np.ones(2, np.float32), "n": np.ones(2, np.int32)}
    assert first_bad_leaf(good) is None
    bad = {**good, "b": {"kernel": np.array([1, np.nan], np.float32)}}
    assert first_bad_leaf(bad) == "['b']['kernel']"
