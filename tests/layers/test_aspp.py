"""A branch of atrous spatial pyramid pooling, in plain loops."""

import jax
import numpy as np
import pytest

from reseg_jax.layers.aspp import AtrousBranch
from tests.support import reference_layers
from tests.support.reference import assert_close


@pytest.mark.parametrize(("size", "rate"), [(3, 2), (4, 2), (3, 12)])
def test_a_branch_equals_the_loops(key, size, rate):
    """Kernels of even sides, too: with an even rate they have as much on either side."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1, 7, 5, 2)).astype(np.float32)
    branch = AtrousBranch(3, size, rate, dropout=0.5)
    params = jax.tree.map(
        lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), branch.init(key, x)
    )["params"]
    reach = rate * (size - 1) // 2
    around = np.pad(x, ((0, 0), (reach, reach), (reach, reach), (0, 0)))
    fc6 = reference_layers.convolution(around, params["fc6"]["kernel"], "VALID", rate)
    fc6 = np.maximum(fc6 + params["fc6"]["bias"], 0)
    fc7 = np.maximum(fc6 @ params["fc7"]["kernel"][0, 0] + params["fc7"]["bias"], 0)
    assert_close(branch.apply({"params": params}, x), fc7, 1e-5)


def test_both_layers_are_dropped_from(key):
    x = np.ones((1, 20, 20, 3), np.float32)
    branch = AtrousBranch(64, 3, 2, dropout=0.25)
    variables = branch.init(key, x)
    kept = np.asarray(branch.apply(variables, x))
    dropped = np.asarray(branch.apply(variables, x, rngs={"dropout": key}))
    assert 0.2 < (dropped == 0)[kept > 0].mean() < 0.5  # fc7's own share, and what fc6's changes
    assert np.unique(dropped[:, 8:12, 8:12]).size > np.unique(kept[:, 8:12, 8:12]).size
