"""The dense CRF beside the sums over all pairs of pixels, and by what it is for."""

import numpy as np
import pytest
import scipy.special

import data
from reseg_jax.errors import UserError
from reseg_jax.inference import crf, memory
from reseg_jax.inference.crf import CRF, refine
from tests.support import reference_crf

SMALL = CRF(w1=4, sigma_alpha=8, sigma_beta=15, w2=1, sigma_gamma=1.5)
"""Reaches for pictures of 20x20 pixels with noise."""


def two_regions(seed, size=(20, 20), outputs=2):
    """(image, truth, noisy probabilities): a disk, and a network that errs at a quarter."""
    rng = np.random.default_rng(seed)
    y, x = np.indices(size)
    truth = ((y - size[0] / 2) ** 2 + (x - size[1] / 2) ** 2 < (min(size) / 3) ** 2).astype(int)
    image = np.where(truth[..., None] == 1, 190, 70) + rng.integers(-10, 11, (*size, 3))
    scores = rng.normal(size=(*size, outputs))
    scores[y, x, truth] += 0.8
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=-1, keepdims=True)
    return image.astype(np.uint8), truth, probabilities.astype(np.float32)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_agrees_with_the_sums_over_all_pairs(seed):
    """The lattice is about a Gaussian: probabilities within 0.002 on average, 0.05 anywhere."""
    image, _, probabilities = two_regions(seed, (18, 24), outputs=3)
    expected = reference_crf.mean_field(probabilities, image, SMALL)
    found = refine(probabilities, image, SMALL)
    assert (found.dtype, found.shape) == (np.float32, probabilities.shape)
    np.testing.assert_allclose(found.sum(axis=-1), 1, atol=1e-5)
    assert np.abs(found - expected).mean() < 0.002
    assert np.abs(found - expected).max() < 0.05
    assert (found.argmax(-1) == expected.argmax(-1)).mean() > 0.99
    assert np.abs(expected - probabilities).mean() > 0.1  # else there was nothing to compute


@pytest.mark.slow
@pytest.mark.parametrize("sigmas", [(30, 3), (65, 4.5), (100, 6)])
def test_it_agrees_on_a_real_crop(real_data, sigmas):
    """At reaches that DeepLab searches: 99 % of the labels, and labels as good."""
    (example,) = data.load("camvid", "val", real_data)[50:51]
    image, truth = (each[200:240, 300:348] for each in (example.image, example.label))
    scores = np.random.default_rng(0).normal(size=(40, 48, 11))
    probabilities = scipy.special.softmax(scores + 2.5 * (truth[..., None] == np.arange(11)), -1)
    real = CRF(w1=3, sigma_alpha=sigmas[0], sigma_beta=sigmas[1])
    expected = reference_crf.mean_field(probabilities, image, real)
    found = refine(probabilities, image, real)
    assert np.abs(found - expected).mean() < 0.002 < 0.05 < np.abs(expected - probabilities).mean()
    labels = [each.argmax(-1) for each in (found, expected)]
    assert (labels[0] == labels[1]).mean() > 0.99
    energies = [reference_crf.energy(x, probabilities, image, real) for x in labels]
    assert energies[0] < 1.005 * energies[1]


@pytest.mark.parametrize("size", [(7, 9), (1, 12), (12, 1)])
def test_smoothness_by_itself_is_exact(size):
    """Smaller than the kernel's reach, and larger."""
    image, _, probabilities = two_regions(0, size, outputs=3)
    only = CRF(w1=0, w2=3, sigma_gamma=1.2, steps=4)
    expected = reference_crf.mean_field(probabilities, image, only)
    np.testing.assert_allclose(refine(probabilities, image, only), expected, atol=2e-3)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_noisy_picture_of_two_regions_is_mended_and_its_energy_falls(seed):
    image, truth, probabilities = two_regions(seed)
    before = probabilities.argmax(-1)
    after = refine(probabilities, image, SMALL).argmax(-1)
    assert (before == truth).mean() < 0.8
    assert (after == truth).mean() > 0.97
    energies = (reference_crf.energy(x, probabilities, image, SMALL) for x in (after, before))
    assert next(energies) < next(energies)


def test_what_changes_nothing():
    image, _, probabilities = two_regions(0)
    for unchanged in (CRF(steps=0), CRF(w1=0, w2=0)):
        np.testing.assert_allclose(refine(probabilities, image, unchanged), probabilities, 1e-5)


def test_classes_have_no_order():
    image, _, probabilities = two_regions(0, outputs=4)
    order = [2, 0, 3, 1]
    found = refine(probabilities, image, SMALL)[..., order]
    np.testing.assert_allclose(refine(probabilities[..., order], image, SMALL), found, atol=1e-5)


def test_certain_pixels_and_odd_colors():
    """Probabilities of 0 and 1; and a pixel unlike all others keeps its own."""
    image, truth, _ = two_regions(0)
    image[3, 3] = 255, 0, 0
    certain = np.eye(2, dtype=np.float32)[truth]
    found = refine(certain, image, CRF())
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(found.argmax(-1), truth)
    unsure = certain.copy()
    unsure[3, 3] = 0.4, 0.6
    only = CRF(w1=6, w2=0, sigma_alpha=8, sigma_beta=3)
    np.testing.assert_allclose(refine(unsure, image, only)[3, 3], unsure[3, 3], atol=1e-3)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sigma_alpha": 0}, "sigma_alpha=0: give a reach above 0"),
        ({"sigma_beta": float("nan")}, "sigma_beta=nan"),
        ({"w2": -1}, "w2=-1: give a weight from 0"),
        ({"steps": -1}, "steps=-1"),
    ],
)
def test_wrong_parameters_are_one_sentence(changes, words):
    with pytest.raises(UserError, match=words):
        CRF(**changes)


def test_what_it_cannot_refine_is_one_sentence(monkeypatch):
    image, _, probabilities = two_regions(0)
    with pytest.raises(UserError, match=r"probabilities have shape \(20, 19, 2\)"):
        refine(probabilities[:, 1:], image)
    with pytest.raises(UserError, match="as if 1 were white"):
        refine(probabilities, image / np.float32(255))
    monkeypatch.setattr(memory, "free_memory", lambda: 1000)
    with pytest.raises(memory.DoesNotFit, match=r"20x20 pixels and 2 classes needs about .* free"):
        refine(probabilities, image)
    with pytest.raises(memory.DoesNotFit):
        crf.check_fits((400, 300, 11))
