"""The permutohedral lattice by hand, by its law, and beside the Gaussian that it stands for."""

import numpy as np
import pytest

from reseg_jax.inference import lattice


def matrix(points):
    """[N, N]: the filter, column by column."""
    return lattice.build(points).filter(np.eye(len(points), dtype=np.float32))


def gaussian(points):
    """[N, N]: every pair."""
    return np.exp(-((points[:, None] - points[None]) ** 2).sum(axis=-1) / 2)


def test_points_on_the_vertices_of_a_line_by_hand():
    """Vertices are sqrt(3)/2 apart, and both directions are the line: 1 2 1 / 4 twice."""
    found = matrix(np.sqrt(3) / 2 * np.arange(7.0)[:, None])
    expected = np.array([0, 1, 4, 6, 4, 1, 0]) / 16
    np.testing.assert_allclose(found[3], expected, atol=1e-6)


@pytest.mark.parametrize("dimensions", [1, 2, 3, 5])
def test_the_weights_of_the_corners_add_up_to_one(dimensions):
    points = np.random.default_rng(0).normal(size=(50, dimensions))
    weights = lattice.build(points).slicing
    assert (np.diff(weights.indptr) == dimensions + 1).all()
    assert weights.data.min() >= 0
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize(("dimensions", "spacing", "reach"), [(1, 0.05, 6), (2, 0.3, 5)])
def test_a_value_spreads_with_a_variance_of_one(dimensions, spacing, reach):
    """In every direction alike, on average over the places that a point can have in a simplex."""
    line = np.arange(-reach, reach, spacing)
    points = np.stack(np.meshgrid(*dimensions * [line]), axis=-1).reshape(-1, dimensions)
    found = matrix(points)
    middle = np.flatnonzero((np.abs(points) < 1.5).all(axis=1))
    apart = points[None] - points[middle][:, None]
    shares = found[middle] / found[middle].sum(axis=1, keepdims=True)
    variance = np.einsum("ij,ija,ijb->ab", shares, apart, apart) / len(middle)
    np.testing.assert_allclose(variance, np.eye(dimensions), atol=0.03)


@pytest.mark.parametrize("dimensions", [2, 5])
def test_it_filters_as_the_gaussian_does(dimensions):
    """Of values from 0 to 2, weighted means are within 0.03 on average of those over all pairs."""
    points = np.random.default_rng(0).normal(size=(800, dimensions))
    values = np.column_stack([np.ones(800), 1 + np.tanh(points[:, 0])]).astype(np.float32)
    found, expected = lattice.build(points).filter(values), gaussian(points) @ values
    means, expected_means = (each[:, 1] / each[:, 0] for each in (found, expected))
    assert np.abs(means - expected_means).mean() < 0.03
    assert np.corrcoef(means, expected_means)[0, 1] > 0.99


def test_what_a_point_gets_back_is_the_filters_diagonal():
    """Of points in the middle of many, so that every vertex that the blur reaches is there."""
    points = np.random.default_rng(0).uniform(-4, 4, size=(1500, 2))
    filters = lattice.build(points)
    inner = np.abs(points).max(axis=1) < 1
    diagonal = np.diag(filters.filter(np.eye(len(points), dtype=np.float32)))
    np.testing.assert_allclose(filters.own[inner], diagonal[inner], rtol=1e-5)
