"""Divergence: what is absurd, for how long, and what is not."""

import math

import pytest

from reseg_jax.training.divergence import Divergence

SHAPE = (5, 10, 20)  # 200 pixels an image
GUESSED = 200 * math.log(11)


def watch(losses, first_loss=None):
    found = Divergence(11, first_loss)
    for loss in losses:
        found.add(loss, SHAPE)
    return found


def test_ten_absurd_losses_in_a_row_are_certain():
    assert not watch([GUESSED] + [1e21] * 9).is_certain()
    assert watch([GUESSED] + [1e21] * 10).is_certain()
    assert not watch([GUESSED] + [1e21] * 9 + [GUESSED] + [1e21] * 9).is_certain()


@pytest.mark.parametrize("factor", [1, 10, 100, 999])
def test_spikes_of_healthy_runs_are_not_absurd(factor):
    assert watch([GUESSED] + [factor * GUESSED] * 50).over == 0


def test_a_first_batch_without_a_label_sets_no_low_limit():
    """Its loss is the L2 term's alone."""
    assert watch([1e-3] + [GUESSED] * 50).over == 0
    assert watch([0.0] + [GUESSED] * 50).over == 0


def test_a_loss_with_large_weights_is_measured_by_its_own_beginning():
    assert watch([500 * GUESSED] * 20).over == 0


def test_one_class_has_a_limit_too():
    found = Divergence(1)
    found.add(0.0, SHAPE)
    found.add(1.0, SHAPE)
    assert found.over == 0


def test_the_beginning_is_kept_over_a_resume():
    again = watch([3e5] * 10, first_loss=watch([GUESSED] * 3).first_loss)
    assert again.first_loss == GUESSED
    assert again.over == 0
    assert watch([1e6] * 10, first_loss=GUESSED).is_certain()
