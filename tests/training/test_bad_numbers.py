"""A run whose loss, parameters or optimizer hold numbers that are not finite, or beyond measure."""

import jax
import numpy as np
import pytest

from reseg_jax.errors import UserError
from reseg_jax.training.checkpoints import Checkpoints
from reseg_jax.training.trained import load_run
from tests.support.runs import fit


@pytest.mark.parametrize("poisoned", ["loss", "parameters"])
def test_bad_numbers_stop_the_run_and_keep_the_checkpoint(network, tmp_path, poisoned):
    def step(state, batch):
        state, loss = network[1](state, batch)
        if int(state.step) == 4 and poisoned == "loss":
            loss = loss * np.float32("nan")
        if int(state.step) == 4 and poisoned == "parameters":
            bad = jax.tree.map(lambda x: x * np.float32("inf"), state.variables)
            state = state._replace(variables=bad)
        return state, loss

    with pytest.raises(UserError, match=r"not a finite number at step 4.* of step 2 is kept"):
        fit(tmp_path, network, train_step=step)
    assert load_run(tmp_path, "latest").step == 2


def test_bad_numbers_of_the_optimizer_are_not_saved(network, tmp_path):
    def step(state, batch):
        state, loss = network[1](state, batch)
        if int(state.step) == 4:
            bad = jax.tree.map(lambda x: x * np.float32("nan"), state.opt_state)
            state = state._replace(opt_state=bad)
        return state, loss

    with pytest.raises(UserError, match=r"optimizer's state .* not a finite .* of step 2 is kept"):
        fit(tmp_path, network, train_step=step)


def test_a_checkpoint_with_bad_numbers_is_not_gone_on_from(network, copy, done, caplog):
    """Older versions saved such."""
    checkpoints = Checkpoints(copy / "checkpoints")
    restored = checkpoints.restore(6, network[0])
    bad = jax.tree.map(lambda x: x * np.float32("nan"), restored.state.opt_state)
    checkpoints.save(6, restored.state._replace(opt_state=bad), restored.notes, 0.1)
    fit(copy, network)
    assert "holds numbers that are not finite" in caplog.text
    assert (copy / "metrics.jsonl").read_bytes() == (done / "metrics.jsonl").read_bytes()


def test_a_finite_loss_beyond_all_measure_stops_the_run(network, tmp_path):
    def step(state, batch):
        state, loss = network[1](state, batch)
        return state, loss * np.float32(1e21 if int(state.step) >= 4 else 1)

    for _ in range(2):  # it says so each time
        with pytest.raises(UserError, match=r"diverged: the loss is .*e\+2.* is kept.*lower"):
            fit(tmp_path, network, train_step=step, save_minutes=0)
        assert Checkpoints(tmp_path / "checkpoints").steps()[-1] == 3
