"""A network by any of its names: a file, a head of the package, a workdir."""

import dataclasses
import re

import jax
import numpy as np
import pytest

import data
import reseg_jax
from reseg_jax import metrics, saving
from reseg_jax.backbones import pretrained
from reseg_jax.errors import UserError
from reseg_jax.labels import Classes
from reseg_jax.loading import TRAINED, load_saved
from reseg_jax.networks.reseg import ReSegConfig
from reseg_jax.training.checkpoints import Checkpoints
from reseg_jax.training.settings import TrainSettings
from reseg_jax.training.step import create_state
from reseg_jax.training.trained import make_optimizer
from reseg_jax.training.workdir import About, claim
from tests.support.networks import SMALL, random_variables

CLASSES = Classes(("left", "right"), ((255, 0, 0), (0, 0, 255)), void=9)
# One convolution of the published width, so that a file of VGG weights fits.
CONFIG = ReSegConfig(
    num_classes=2,
    tap="conv1_1",
    preprocessing="torchvision",
    patch_sizes=((2, 2),),
    units=(3,),
    upsample_sizes=((2, 2),),
    upsample_channels=(4,),
)


@pytest.fixture(scope="module")
def variables():
    return random_variables(CONFIG)


@pytest.fixture
def head(tmp_path, variables):
    path = tmp_path / "head.npz"
    reseg_jax.save(path, CONFIG, variables, head_only=True, classes=CLASSES)
    return path


@pytest.fixture
def vgg_file(tmp_path, variables):
    """The VGG of the network as a file of its own."""
    path = tmp_path / "vgg.npz"
    layers = variables["frozen"]["vgg"]
    entries = {f"{n}/{part}": array for n, layer in layers.items() for part, array in layer.items()}
    np.savez(path, preprocessing="torchvision", **entries)
    return path


def assert_close(found, expected, tolerance=0.0):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance and 1e-7)


def test_a_file_is_config_and_variables(tmp_path, variables):
    path = tmp_path / "network.npz"
    reseg_jax.save(path, CONFIG, variables, classes=CLASSES)
    config, loaded = reseg_jax.load(path)
    assert config == CONFIG
    assert_close(loaded, variables)
    assert load_saved(str(path)).classes == CLASSES


# --- heads without their VGG ----------------------------------------------------------------------


def test_a_head_and_its_vgg_are_the_network_again(head, variables, vgg_file):
    with np.load(head) as entries:
        assert not [name for name in entries if name.startswith("vgg/")]
        assert entries["classifier/kernel"].dtype == np.float16
    found = load_saved(head, vgg_file)
    assert (found.config, found.classes) == (CONFIG, CLASSES)
    assert_close(found.variables, variables, 2**-10)  # float16's rounding
    assert_close(found.variables["frozen"], variables["frozen"])


def test_a_head_over_another_vgg_is_refused(tmp_path, variables, vgg_file):
    path = tmp_path / "head.npz"
    config = dataclasses.replace(CONFIG, preprocessing="caffe")
    reseg_jax.save(path, config, variables, head_only=True)
    with pytest.raises(
        UserError, match=r"head.npz was trained over .* caffe .*are for torchvision"
    ):
        reseg_jax.load(path, vgg_weights=vgg_file)


def test_a_heads_name_stands_for_its_file(tmp_path, variables, vgg_file, monkeypatch):
    monkeypatch.setattr("reseg_jax.loading.TRAINED", tmp_path)
    reseg_jax.save(tmp_path / "streets.npz", CONFIG, variables, head_only=True)
    assert reseg_jax.load("streets", vgg_weights=vgg_file)[0] == CONFIG


def test_a_name_that_is_no_head_is_a_missing_file():
    assert [path.stem for path in sorted(TRAINED.glob("*.npz"))] == ["camvid"]
    with pytest.raises(UserError, match="lanes does not exist"):
        reseg_jax.load("lanes")


@pytest.mark.parametrize(
    "bad", [None, 1, b"camvid", [], {}, "x" * 5000, "a\0b", "/dev/null", "camvid.npz/x", "~"]
)
def test_whatever_is_no_network_is_one_sentence(bad):
    with pytest.raises(UserError):
        reseg_jax.load(bad)


def test_without_weights_the_heads_own_are_fetched(head, vgg_file, monkeypatch):
    """Those of the preprocessing that the head was trained with."""
    asked = []

    def fetch(source):
        asked.append(source)
        return vgg_file

    monkeypatch.setattr("reseg_jax.backbones.pretrained._fetch", fetch)
    reseg_jax.load(head)
    assert asked == [pretrained.SOURCES["torchvision"]]


def test_a_head_over_no_published_weights_needs_them(tmp_path, variables):
    path = tmp_path / "head.npz"
    config = dataclasses.replace(CONFIG, preprocessing="unit")
    reseg_jax.save(path, config, variables, head_only=True)
    with pytest.raises(UserError, match=r"head\.npz is saved without its backbone: give"):
        reseg_jax.load(path)


def test_a_trained_backbone_is_in_the_head(tmp_path):
    """It is not the public one any more, so nothing is fetched."""
    config, path = SMALL["reseg, trained VGG with batch norm"], tmp_path / "head.npz"
    variables = random_variables(config)
    reseg_jax.save(path, config, variables, head_only=True)
    found = load_saved(path)
    assert (found.config, found.classes) == (config, None)
    assert_close(found.variables, variables, 2**-10)


# --- workdirs -------------------------------------------------------------------------------------


def test_a_workdir_stands_for_its_best_checkpoint(tmp_path, variables):
    about = About(CONFIG, TrainSettings(epochs=3), CLASSES)
    claim(tmp_path, about)
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    for step, score in ((1, 0.3), (2, 0.5), (3, 0.4)):
        changed = random_variables(CONFIG, seed=step)
        state = create_state(changed, make_optimizer(about, changed, 1))
        state = state._replace(step=state.step + step)
        checkpoints.save(step, state, {"history": []}, score)
    found = load_saved(tmp_path)
    assert (found.config, found.classes) == (CONFIG, CLASSES)
    assert_close(found.variables, random_variables(CONFIG, seed=2))
    config, loaded = reseg_jax.load(str(tmp_path))
    assert config == CONFIG
    assert_close(loaded, found.variables)


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(UserError, match=re.escape(f"{tmp_path} holds no run")):
        reseg_jax.load(tmp_path)


# --- the head that comes with the package ---------------------------------------------------------


def test_the_packaged_head_fits_its_vgg(vgg_weights_path):
    found = load_saved("camvid", vgg_weights_path)
    assert found.config == saving.read(TRAINED / "camvid.npz").config
    assert set(found.variables) == {"params", "frozen"}
    labels = reseg_jax.predict(found.config, found.variables, np.zeros((24, 32, 3), np.uint8))
    assert (labels.shape, labels.dtype) == ((24, 32), np.uint8)


@pytest.mark.slow
def test_the_head_that_comes_with_the_package_knows_streets(real_data, vgg_weights_path):
    """Every twentieth validation frame; by chance it would be below a tenth."""
    config, network = reseg_jax.load("camvid", vgg_weights=vgg_weights_path)
    examples = data.load("camvid", "val", real_data)[::20]
    matrix = sum(
        metrics.confusion_matrix(e.label, reseg_jax.predict(config, network, e.image), 11)
        for e in examples
    )
    assert metrics.summarize(matrix)["miou"] > 0.6
