"""A finished run, and what it was trained with."""

import shutil

import jax
import pytest

from reseg_jax import api
from reseg_jax.training.step import create_state
from tests.support import tiny
from tests.support.runs import fit


@pytest.fixture(scope="package")
def network():
    """(first state, train_step, predict_step), compiled once for all tests here."""
    optimizer, train_step, predict_step = tiny.steps(tiny.CONFIG)
    variables = api.init(tiny.CONFIG, jax.random.key(0))
    return create_state(variables, optimizer), train_step, predict_step


@pytest.fixture(scope="package")
def done(network, tmp_path_factory):
    """A finished run."""
    workdir = tmp_path_factory.mktemp("run")
    fit(workdir, network)
    return workdir


@pytest.fixture
def copy(done, tmp_path):
    """A finished run that a test may damage."""
    return shutil.copytree(done, tmp_path / "run")
