"""A skip in NumPy; strides and errors are in `tests/networks/test_reseg_config.py`."""

import numpy as np
import pytest

from reseg_jax.layers.skip_upsampling import Skip
from tests.recurrent.test_renet import single
from tests.support.reference import assert_close


@pytest.mark.parametrize("normalize", [False, True])
def test_a_skip_mixes_both_maps_and_pads_at_the_far_ends(normalize):
    rng = np.random.default_rng(0)
    x, skip = rng.normal(size=(1, 4, 6, 5)), rng.normal(size=(1, 3, 5, 7))
    kernel, bias = rng.normal(size=(12, 5)), rng.normal(size=5)
    params = {"kernel": kernel, "bias": bias}
    padded = np.zeros((1, 4, 6, 7))
    padded[:, :3, :5] = skip
    if normalize:
        centered = skip - skip.mean(-1, keepdims=True)
        padded[:, :3, :5] = centered / np.sqrt((centered**2).mean(-1, keepdims=True) + 1e-5)
    expected = np.maximum(np.concatenate([x, padded], -1) @ kernel + bias, 0)
    found = Skip(normalize).apply({"params": single(params)}, single(x), single(skip))
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
    found = Skip(False, refine=True).apply(
        {"params": single(params)}, single(x), single(skip), np.int32([3, 5])
    )
    assert_close(found[:, :3, :5], np.maximum(mixed + sums + bias, 0)[:, :3, :5])
