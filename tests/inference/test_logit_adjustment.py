"""What is taken out of the logits, by hand and as the posterior that it stands for."""

import numpy as np
import pytest

from reseg_jax import api
from reseg_jax.inference.logit_adjustment import adjust_logits, class_shares
from reseg_jax.labels import VOID
from tests.support import tiny
from tests.support.networks import images_of, random_variables


def test_shares_are_of_all_labeled_pixels():
    labels = [np.uint8([[0, 0], [1, VOID]]), np.uint8([[0, VOID], [VOID, VOID]])]
    np.testing.assert_array_equal(class_shares(iter(labels), 3), [0.75, 0.25, 0])


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_logits_are_less_by_the_power_of_the_shares(power):
    network, image = random_variables(tiny.CONFIG), images_of(1, (4, 6))
    shares = np.array([0.9, 0.1])
    before = np.asarray(api.apply(tiny.CONFIG, network, image))
    after = api.apply(tiny.CONFIG, adjust_logits(network, shares, power), image)
    np.testing.assert_allclose(after, before - power * np.log(shares), rtol=1e-4, atol=1e-5)


def test_at_power_one_the_prior_is_gone():
    """Bayes: p(c | x) / p(c) is proportional to p(x | c), which is where it is decided."""
    likelihood, prior = np.array([[0.2, 0.6], [0.5, 0.4]]), np.array([0.9, 0.1])
    logits = np.log(likelihood * prior)
    network = {"params": {"classifier": {"kernel": np.eye(2), "bias": np.zeros(2)}}}
    bias = adjust_logits(network, prior, 1.0)["params"]["classifier"]["bias"]
    assert logits.argmax(-1).tolist() == [0, 0]
    assert (logits + bias).argmax(-1).tolist() == likelihood.argmax(-1).tolist() == [1, 0]
    assert not network["params"]["classifier"]["bias"].any()


def test_what_was_never_seen_and_void_keep_their_logits():
    network = {"params": {"classifier": {"kernel": np.eye(4), "bias": np.zeros(4)}}}
    found = adjust_logits(network, np.array([0.5, 0.5, 0.0]), 1.0)["params"]["classifier"]["bias"]
    np.testing.assert_allclose(found, [np.log(2), np.log(2), 0, 0])
