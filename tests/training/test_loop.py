"""When the loop reads losses: one step late where devices can queue, and never after a save."""

import jax
import numpy as np
import pytest

from reseg_jax import api, devices
from reseg_jax.errors import UserError
from reseg_jax.training import loop, position
from reseg_jax.training.checkpoints import Checkpoints
from reseg_jax.training.settings import TrainSettings
from reseg_jax.training.signals import Stop
from reseg_jax.training.step import create_state
from reseg_jax.training.trained import load_run
from reseg_jax.training.workdir import About, claim
from tests.support import tiny

SETTINGS = TrainSettings(epochs=2, batch_size=2)


@pytest.fixture(scope="module")
def network():
    """(first state, train_step, predict_step)."""
    optimizer, train_step, predict_step = tiny.steps(tiny.CONFIG)
    return (
        create_state(api.init(tiny.CONFIG, jax.random.key(0)), optimizer),
        train_step,
        predict_step,
    )


@pytest.fixture(params=[False, True], ids=["waiting", "queued"])
def can_queue(request, monkeypatch):
    """Both ways to read losses, on a device that never needs the first."""
    monkeypatch.setattr(devices, "can_queue", lambda: request.param)
    return request.param


def fit(workdir, network, train_step=None, **options):
    state, step, predict_step = network
    claim(workdir, About(tiny.CONFIG, SETTINGS, tiny.CLASSES))
    batches = tiny.Batches(), tiny.Batches(seed=1)
    steps = train_step or step, predict_step
    return loop.fit(workdir, SETTINGS, state, *steps, *batches, 2, **options)


def changed_at(network, number, change):
    """A training step that does something else at update `number`."""
    calls = iter(range(1, 100))

    def step(state, batch):
        found = network[1](state, batch)
        return change(*found) if next(calls) == number else found

    return step


def test_a_cpu_has_one_program_at_a_time():
    assert devices.can_queue() == (jax.default_backend() != "cpu")


def test_an_update_is_begun_before_the_loss_before_it_is_read(
    network, tmp_path, monkeypatch, can_queue
):
    """Of each epoch's 2 updates; everything is read before it is saved."""
    events, read, save = [], position.Position.read_loss, position.Position.save

    def read_loss(self):
        events.extend(["read"] * (self.unread is not None))
        read(self)

    def logged_save(self, *arguments):
        events.append("save" if self.unread is None else "too early")
        save(self, *arguments)

    def step(state, batch):
        events.append("update")
        return network[1](state, batch)

    monkeypatch.setattr(position.Position, "read_loss", read_loss)
    monkeypatch.setattr(position.Position, "save", logged_save)
    fit(tmp_path, network, step)
    one_epoch = ["update", "update", "read", "read"] if can_queue else ["update", "read"] * 2
    assert events == 2 * [*one_epoch, "save"]


def test_both_ways_give_the_same_run(network, tmp_path, monkeypatch):
    runs = []
    for queued in (False, True):
        monkeypatch.setattr(devices, "can_queue", lambda queued=queued: queued)
        runs.append(fit(tmp_path / str(queued), network, save_minutes=0))
    assert runs[0] == runs[1]
    states = [load_run(tmp_path / name, "latest").variables for name in ("False", "True")]
    jax.tree.map(np.testing.assert_array_equal, *states)


@pytest.mark.parametrize("number", [3, 4])
def test_a_loss_that_is_no_number_is_noticed_before_anything_is_saved(
    network, tmp_path, can_queue, number
):
    """Whether the epoch goes on after it (3) or ends with it (4); epochs have 2 updates."""
    nan = changed_at(network, number, lambda state, loss: (state, loss * np.float32("nan")))
    kept = number - 1
    with pytest.raises(UserError, match=f"not a finite number at step {number}: .* step {kept} is"):
        fit(tmp_path, network, nan, save_minutes=0)
    assert Checkpoints(tmp_path / "checkpoints").steps()[-1] == kept


def test_a_signal_saves_the_update_in_work_with_its_loss(network, tmp_path, can_queue):
    stop = Stop()

    def signal(state, loss):
        stop.received(15)
        return state, loss

    with pytest.raises(SystemExit):
        fit(tmp_path / "stopped", network, changed_at(network, 3, signal), stop=stop)
    assert Checkpoints(tmp_path / "stopped" / "checkpoints").steps()[-1] == 3
    assert fit(tmp_path / "stopped", network) == fit(tmp_path / "once", network)


def test_steps_copy_nothing_to_or_from_devices_that_nobody_asked_for(
    network, tmp_path, can_queue, monkeypatch
):
    """Batches are put there, losses are fetched. (From a CPU, JAX lets everything pass.)"""
    fit(tmp_path / "compiled", network)

    def guarded(function):
        def run(*arguments):
            with jax.transfer_guard("disallow"):
                return function(*arguments)

        return run

    monkeypatch.setattr(position.Position, "read_loss", guarded(position.Position.read_loss))
    fit(tmp_path / "run", network, guarded(network[1]))
    with pytest.raises(Exception, match="Disallowed host-to-device"):
        guarded(network[1])(network[0], tiny.Batches().batch(0))
