"""What evaluate makes of all images' segments."""

import json

import numpy as np
import pytest

from experiments.segments import boundary_class, format_table, summarize
from reseg_jax.errors import UserError
from reseg_jax.labels import Classes
from reseg_jax.partition_metrics import overlaps

CLASSES = Classes(("cell", "membrane"), ((0, 0, 0), (255, 255, 255)))


def test_agreements_are_means_of_images_and_seg_is_the_mean_of_segments():
    """Two neurons joined; one found but for a pixel of four; no true segment."""
    images = [
        overlaps(np.array([1, 1, 2, 2]), np.array([1, 1, 1, 1])),
        overlaps(np.array([1, 1, 1, 1]), np.array([1, 1, 1, 0])),
        overlaps(np.array([0, 0, 0, 0]), np.array([1, 1, 0, 0])),
    ]
    found = summarize(images)
    assert found["v_rand"]["split"] == pytest.approx((1 + 10 / 16) / 2)
    assert found["v_rand"]["merge"] == pytest.approx((1 / 2 + 1) / 2)
    assert found["v_rand"]["fscore"] == pytest.approx((2 / 3 + 20 / 26) / 2)
    assert found["seg"] == pytest.approx((1 / 2 + 1 / 2 + 3 / 4) / 3)
    assert found["true_segments"] == 3
    assert json.loads(json.dumps(found)) == found
    _, header, *rows = format_table(found, "membrane").splitlines()
    assert header.split() == ["F-score", "split", "merge"]
    assert rows[0].split() == ["V_rand", "71.79", "81.25", "75.00"]
    assert rows[2].split()[:2] == ["SEG", "58.33"]
    assert len({len(line) for line in (header, *rows[:2])}) == 1


def test_images_without_segments_have_dashes():
    found = summarize([overlaps(np.array([0, 0]), np.array([1, 1]))])
    assert found["seg"] is found["v_info"]["fscore"] is None
    assert format_table(found, "membrane").splitlines()[2].split() == ["V_rand", "-", "-", "-"]


def test_the_boundary_is_a_class_by_its_name():
    assert boundary_class("membrane", CLASSES) == 1
    with pytest.raises(UserError, match="--boundary=border is no class: give one of cell, membra"):
        boundary_class("border", CLASSES)
