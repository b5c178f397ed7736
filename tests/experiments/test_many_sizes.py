"""Images of many sizes are scored and predicted by few programs, and as each is by itself."""

import logging

import jax
import numpy as np
import pytest

from data.example import Example
from experiments import ensemble_flags
from experiments.counting import count
from reseg_jax import api, metrics
from reseg_jax.inference.ensemble import Views, probabilities, uncertainty
from reseg_jax.labels import likeliest
from tests.support import tiny

SIZES = ((16, 20), (15, 20), (14, 18), (16, 19), (13, 17), (15, 18))
VIEWS = Views(flip=True)


@pytest.fixture(scope="module")
def variables():
    return jax.tree.map(lambda leaf: 3 * leaf, api.init(tiny.CONFIG, jax.random.key(0)))


@pytest.fixture(scope="module")
def examples():
    rng = np.random.default_rng(0)
    return [
        Example(
            str(size),
            rng.integers(0, 256, (*size, 3), np.uint8),
            rng.integers(0, tiny.CONFIG.num_classes, size, np.uint8),
        )
        for size in SIZES
    ]


@pytest.fixture
def compiled(monkeypatch):
    """Names of the programs that are compiled, or read from the disk, from here on."""
    names = []

    class Listener(logging.Handler):
        def emit(self, record):
            if record.getMessage().startswith("Finished XLA compilation of "):
                names.append(record.getMessage().split()[4])

    log, listener = logging.getLogger("jax"), Listener()
    monkeypatch.setattr(log, "propagate", False)
    log.addHandler(listener)
    with jax.log_compiles():
        yield names
    log.removeHandler(listener)


def test_six_sizes_are_scored_by_two_programs(variables, examples, compiled):
    """The first size's own, and one for the smaller images, padded to it."""
    networks = ensemble_flags.Networks([[(tiny.CONFIG, variables)]], ["tiny"], None, [])
    (matrices,), _ = count(networks, examples, VIEWS)
    assert compiled == ["jit(_softmax)"] * 2
    for example, matrix in zip(examples, matrices, strict=True):
        scores = probabilities(tiny.CONFIG, [variables], example.image, VIEWS)
        labels = likeliest(scores, tiny.CONFIG.num_classes)
        expected = metrics.confusion_matrix(example.label, labels, tiny.CONFIG.num_classes)
        assert np.abs(matrix - expected).sum() <= 2  # but for a tie
    assert len(compiled) > 2 + 2  # the listener does listen


def test_what_is_made_of_scores_compiles_nothing(compiled):
    for height in (3, 4, 5):
        scores = np.full((height, 4, 2), 0.5, np.float32)
        np.testing.assert_allclose(uncertainty(scores), np.ones((height, 4)), rtol=1e-6)
        np.testing.assert_array_equal(likeliest(scores, 2), np.zeros((height, 4)))
    assert compiled == []


def test_jax_and_numpy_agree_on_scores():
    """What NumPy computes without compiling is what a program with JAX's arrays computes."""
    scores = np.random.default_rng(0).dirichlet(np.ones(4), (5, 6)).astype(np.float32)
    array = jax.numpy.asarray(scores)
    np.testing.assert_allclose(uncertainty(scores), jax.jit(uncertainty)(array), rtol=1e-5)
    np.testing.assert_array_equal(likeliest(scores, 3), likeliest(array, 3))
    assert (likeliest(scores, 3) == 255).any()
    assert uncertainty(scores).dtype == np.float32
