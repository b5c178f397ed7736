"""The campaign's materials, made once."""

import jax
import pytest

from experiments.faults.forked import Forked
from experiments.faults.materials import Materials
from reseg_jax import devices


@pytest.fixture(scope="package")
def files(tmp_path_factory):
    """Datasets and weights; nothing is trained."""
    return Materials(tmp_path_factory.mktemp("faults"))


@pytest.fixture(scope="package")
def command(files):
    """`experiments.train`, to be started."""
    with Forked("train", files.environment()) as command:
        yield command


@pytest.fixture(scope="package")
def trained(files, command):
    """The same with a finished run and a cache of features."""
    files.train(command)
    return files


@pytest.fixture
def as_commands():
    """Arrays are divided over devices as in commands, so that numbers agree to the last bit."""
    with jax.set_mesh(devices.row()):
        yield
