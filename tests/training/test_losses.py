"""The loss and its parts, by hand and against loops; void and class weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reseg_jax.labels import VOID
from reseg_jax.metrics import confusion_matrix, summarize
from reseg_jax.training.losses import Loss, cross_entropy, hardest, l2_penalty, soft_jaccard
from tests.support import reference_training as reference


def case(seed=0, classes=4):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(3, 5, 4, classes), scale=3).astype(np.float32)
    labels = rng.integers(0, classes, (3, 5, 4)).astype(np.uint8)
    labels[rng.random(labels.shape) < 0.3] = VOID
    return logits, labels


def test_two_by_two_by_hand():
    """Probabilities 1/2, 3/4, 1/4 and a void pixel: log 2 + log 4/3 + log 4, summed."""
    logits = np.log(np.float32([[[1, 1], [3, 1]], [[3, 1], [9, 1]]]))[None]
    labels = np.uint8([[[0, 0], [1, VOID]]])
    expected = np.log(2) + np.log(4 / 3) + np.log(4)
    assert cross_entropy(logits, labels) == pytest.approx([expected], rel=1e-6)


def test_uniform_prediction_costs_log_k_per_pixel():
    """The released run starts near 172,800 ln 12 on a 480x360 image: a sum, not a mean."""
    logits = np.zeros((1, 36, 48, 12), np.float32)
    loss = cross_entropy(logits, np.zeros((1, 36, 48), np.uint8))
    assert loss == pytest.approx([36 * 48 * np.log(12)], rel=1e-5)


@pytest.mark.parametrize("weighted", [False, True])
def test_equals_the_loop(weighted):
    logits, labels = case()
    weights = np.float32([0.5, 2, 0, 1]) if weighted else None
    expected = reference.cross_entropy(logits, labels, weights)
    np.testing.assert_allclose(cross_entropy(logits, labels, weights), expected, rtol=1e-5)


def test_weights_of_pixels_are_added_to_those_of_classes():
    """U-Net's w_c(x) + w_0 exp(...); void pixels weigh nothing all the same."""
    logits, labels = case()
    weights = np.float32([0.5, 2, 0, 1])
    more = np.random.default_rng(1).uniform(0, 10, labels.shape).astype(np.float32)
    for of_classes in (weights, None):
        expected = reference.cross_entropy(logits, labels, of_classes, more)
        found = cross_entropy(logits, labels, of_classes, more)
        np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("share", [0.01, 0.3, 0.75, 0.999])
def test_the_hardest_pixels_of_each_image_are_counted(share):
    """A share of the labeled ones, at least one; their weights are as before."""
    logits, labels = case()
    labels[1] = VOID
    labels[1, 2, 2] = 3
    counts = [max(1, round(share * (image != VOID).sum())) for image in labels]
    weights, more = np.float32([0.5, 2, 0, 1]), np.ones(labels.shape, np.float32)
    for given in ((None, None), (weights, more)):
        expected = reference.cross_entropy(logits, labels, *given, counts)
        found = cross_entropy(logits, labels, *given, bootstrap=share)
        np.testing.assert_allclose(found, expected, rtol=1e-5)
    gradient = jax.grad(lambda x: cross_entropy(x, labels, bootstrap=share).sum())(logits)
    np.testing.assert_array_equal(np.asarray(gradient).any(-1).sum((1, 2)), counts)


def test_equally_hard_pixels_divide_what_is_left():
    """Two of five labeled pixels: the one with loss 3, and a third each of three with loss 2."""
    loss, valid = jnp.array([[[2.0, 1.0, 2.0, 9.0, 2.0, 3.0]]]), np.ones((1, 1, 6), bool)
    valid[0, 0, 3] = False
    found = hardest(loss, jnp.asarray(valid), 0.4)
    np.testing.assert_allclose(found, [[[1 / 3, 0, 1 / 3, 0, 1 / 3, 1]]], rtol=1e-6)
    np.testing.assert_array_equal(hardest(loss, jnp.zeros((1, 1, 6), bool), 0.4), 0 * loss)


def test_void_pixels_count_nothing():
    logits, labels = case()
    void = labels == VOID
    changed = np.where(void[..., None], 1e4 * (logits + 1), logits)
    np.testing.assert_array_equal(cross_entropy(changed, labels), cross_entropy(logits, labels))
    weights = np.float32([0.5, 2, 3, 1])
    for loss in (cross_entropy, lambda *a: cross_entropy(*a, weights)):
        gradient = np.asarray(jax.grad(lambda x, loss=loss: loss(x, labels).sum())(changed))
        assert np.isfinite(gradient).all()
        assert not gradient[void].any()
        assert gradient[~void].any(axis=-1).all()


def test_an_image_all_void_costs_nothing():
    logits, labels = case()
    labels[1] = VOID
    loss = cross_entropy(logits, labels)
    assert loss[1] == 0
    assert (loss[::2] > 0).all()


def test_gradient_is_softmax_minus_truth():
    logits, labels = case()
    gradient = jax.grad(lambda x: cross_entropy(x, labels).sum())(logits)
    expected = jax.nn.softmax(logits) - jax.nn.one_hot(labels, 4)
    expected = np.where((labels == VOID)[..., None], 0, expected)
    np.testing.assert_allclose(gradient, expected, atol=1e-6)


def test_l2_is_the_plain_sum_of_squares_of_kernels():
    kernels = {"input_kernel": jnp.array([[1.0, 2.0]]), "recurrent_kernel": jnp.array([[3.0]])}
    params = {
        "renet_0": {"vertical": {"forward": kernels | {"bias": jnp.array([100.0])}}},
        "classifier": {"kernel": jnp.array([[-4.0]]), "bias": jnp.array([100.0])},
    }
    assert l2_penalty(params) == 1 + 4 + 9 + 16


def test_soft_jaccard_by_hand():
    """Class 0: p 1/2 and 3/4, truth 1 and 0; class 1: p 1/2 and 1/4, truth 0 and 1."""
    logits = np.log(np.float32([[[1, 1], [3, 1], [5, 1]]]))[None]
    labels = np.uint8([[[0, 1, VOID]]])
    first, second = 0.5 / (0.5 + 0.75 + 1 - 0.5), 0.25 / (0.5 + 0.25 + 1 - 0.25)
    expected = 1 - (first + second) / 2
    assert soft_jaccard(logits, labels) == pytest.approx(expected, rel=1e-6)


def test_soft_jaccard_equals_the_definition_and_leaves_fillers_out():
    logits, labels = case()
    expected = reference.soft_jaccard(logits, labels)
    np.testing.assert_allclose(soft_jaccard(logits, labels), expected, rtol=1e-5)
    filled = soft_jaccard(logits, labels, np.float32([1, 0, 2]))
    expected = reference.soft_jaccard(logits[[0, 2]], labels[[0, 2]])
    np.testing.assert_allclose(filled, expected, rtol=1e-5)


def test_soft_jaccard_of_sure_predictions_is_what_we_report():
    """One minus the mean IoU of `summarize`, all classes present."""
    logits, labels = case()
    assert set(np.unique(labels)) == {0, 1, 2, 3, VOID}
    matrix = confusion_matrix(labels, logits.argmax(-1).astype(np.uint8), 4)
    sure = 1e4 * np.eye(4, dtype=np.float32)[logits.argmax(-1)]
    expected = 1 - summarize(matrix)["miou"]
    np.testing.assert_allclose(soft_jaccard(sure, labels), expected, rtol=1e-6)


def test_soft_jaccard_ignores_void_and_survives_nothing_but_void():
    logits, labels = case()
    changed = np.where((labels == VOID)[..., None], 1e4 * (logits + 1), logits)
    assert soft_jaccard(changed, labels) == pytest.approx(soft_jaccard(logits, labels))
    empty = np.full_like(labels, VOID)
    loss, gradient = jax.value_and_grad(soft_jaccard)(jnp.asarray(logits), empty)
    assert loss == 0 and not gradient.any()
    gradient = jax.grad(soft_jaccard)(jnp.asarray(changed), labels)
    assert np.isfinite(gradient).all() and gradient.any()


def test_the_loss_is_the_sum_of_its_parts_each_by_the_oracle():
    """Image 1 only fills the batch up; 0.25 of each auxiliary output, 0.1 of 9 + 16."""
    logits, labels = case()
    more = {"deep": 2 * logits, "deeper": -logits}
    params = {"classifier": {"kernel": jnp.array([3.0, 4.0]), "bias": jnp.array([9.0])}}
    weights, real = (0.5, 2.0, 0.0, 1.0), [0, 2]

    def entropy(logits):
        return reference.cross_entropy(logits, labels, weights)[real].mean()

    expected = {
        "cross-entropy": entropy(logits),
        "auxiliary": 0.25 * (entropy(more["deep"]) + entropy(more["deeper"])),
        "l2": 0.1 * 25,
        "jaccard": 0.3 * 20 * reference.soft_jaccard(logits[real], labels[real]),
    }
    loss = Loss(l2=0.1, class_weights=weights, jaccard=0.3, auxiliary=0.25)
    found = loss(logits, labels, np.float32([1, 0, 1]), params, more)
    np.testing.assert_allclose(found, sum(expected.values()), rtol=1e-5)
    without = loss(logits, labels, np.float32([1, 0, 1]), params)
    np.testing.assert_allclose(found - without, expected["auxiliary"], rtol=1e-4)


def test_every_output_has_its_own_hardest_pixels():
    logits, labels = case()
    labels[labels == VOID] = 0
    more, weight = np.ones(labels.shape, np.float32), np.ones(3, np.float32)
    parts = [
        reference.cross_entropy(each, labels, None, more, [5] * 3).mean()
        for each in (logits, -logits)
    ]
    loss = Loss(auxiliary=0.25, bootstrap=0.25)
    found = loss(logits, labels, weight, None, {"deep": -logits}, pixel_weights=more)
    np.testing.assert_allclose(found, parts[0] + 0.25 * parts[1], rtol=1e-5)


def test_void_is_trained_as_a_class_or_not_at_all():
    logits, labels = case(classes=5)
    labels[labels == 4] = VOID
    weight, params = np.ones(3, np.float32), {"kernel": jnp.zeros(1)}
    last = reference.cross_entropy(logits, np.where(labels == VOID, 4, labels)).mean()
    nothing = reference.cross_entropy(logits, labels).mean()
    assert Loss(void_class=4)(logits, labels, weight, params) == pytest.approx(last, rel=1e-5)
    assert Loss()(logits, labels, weight, params) == pytest.approx(nothing, rel=1e-5)
    assert last > nothing
