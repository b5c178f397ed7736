"""Runs of a tiny network, for tests of what a run leaves behind."""

import jax
import numpy as np

from reseg_jax.training import loop
from reseg_jax.training.settings import TrainSettings
from reseg_jax.training.workdir import About, claim
from tests.support import tiny

SETTINGS = TrainSettings(epochs=3, batch_size=2)


def fit(workdir, network, settings=SETTINGS, train_step=None, **options):
    state, step, predict_step = network
    claim(workdir, About(tiny.CONFIG, settings, tiny.CLASSES))
    train, val = tiny.Batches(), tiny.Batches(seed=1)
    step = train_step or step
    return loop.fit(workdir, settings, state, step, predict_step, train, val, 2, **options)


def leaves(run):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(run.variables)]


def damage(workdir, step):
    folder = workdir / "checkpoints" / str(step) / "state"
    for path in folder.rglob("*"):
        if path.is_file() and path.parent.name == "d":
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def record_file(workdir, step):
    return workdir / "checkpoints" / str(step) / "record" / "metadata"
