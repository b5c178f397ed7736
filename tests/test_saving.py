"""A network as one file, there and back; configs that older versions wrote; damaged files."""

import dataclasses
import json
import pathlib

import jax
import numpy as np
import pytest

import reseg_jax
from experiments.presets import PRESETS
from experiments.reporting import records
from reseg_jax import saving
from reseg_jax.backbones.vgg import VGG16
from reseg_jax.errors import UserError
from reseg_jax.labels import Classes
from reseg_jax.loading import TRAINED
from reseg_jax.networks.reseg import ReSegConfig
from reseg_jax.recurrent.execution import Execution
from reseg_jax.training import workdir
from reseg_jax.training.settings import TrainSettings
from tests.support.networks import SMALL, images_of, random_variables

RUNS = pathlib.Path(__file__).parents[1] / "results" / "runs"
CLASSES = Classes(("left", "middle", "right"), ((255, 0, 0), (0, 255, 0), (0, 0, 255)), void=9)
CONFIG = SMALL["reseg"]  # with a frozen VGG

every_network = pytest.mark.parametrize("config", SMALL.values(), ids=SMALL)


@pytest.fixture(scope="module")
def variables():
    return random_variables(CONFIG)


@pytest.fixture
def saved(tmp_path, variables):
    path = tmp_path / "network.npz"
    reseg_jax.save(path, CONFIG, variables)
    return path


def rewrite(path, change):
    with np.load(path) as entries:
        arrays = dict(entries)
    change(arrays)
    np.savez(path, **arrays)


def assert_same(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)


# --- there and back ------------------------------------------------------------------------------


@every_network
def test_there_and_back(tmp_path, config):
    path, variables = tmp_path / "network.npz", random_variables(config)
    reseg_jax.save(path, config, variables)
    found = saving.read(path)
    assert found.config == config
    assert found.classes is None
    assert_same(found.variables, variables)


def test_a_loaded_network_predicts_the_same(saved, variables):
    config, loaded = reseg_jax.load(saved)
    images = images_of(1, (8, 10))
    np.testing.assert_array_equal(
        reseg_jax.apply(config, loaded, images), reseg_jax.apply(CONFIG, variables, images)
    )


def test_classes_travel_with_the_network(tmp_path, variables):
    path = tmp_path / "network.npz"
    reseg_jax.save(path, CONFIG, variables, classes=CLASSES)
    found = saving.read(path)
    assert (found.config, found.classes) == (CONFIG, CLASSES)
    assert_same(found.variables, variables)


def test_entries_have_the_documented_names(saved):
    with np.load(saved) as entries:
        names = set(entries)
        config = json.loads(str(entries["config"]))
    assert config["network"] == "reseg"
    assert {
        "vgg/conv1_1/kernel",
        "renet_0/vertical/forward/input_kernel",
        "renet_0/horizontal/backward/recurrent_kernel",
        "upsample_0/kernel",
        "classifier/bias",
    } <= names


@every_network
def test_a_head_is_half_as_wide_but_its_statistics_are_not(tmp_path, config):
    """float16 for parameters, without a frozen backbone; running statistics stay float32."""
    path, variables = tmp_path / "head.npz", random_variables(config)
    reseg_jax.save(path, config, variables, head_only=True)
    found = saving.read(path).variables
    assert set(found) == set(variables) - {"frozen"}
    assert jax.tree.structure(found["params"]) == jax.tree.structure(variables["params"])
    for path_, leaf in jax.tree.leaves_with_path(found["params"]):
        assert leaf.dtype == np.float32, path_
        np.testing.assert_array_equal(leaf, leaf.astype(np.float16))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2**-11, atol=1e-7),
        found["params"],
        variables["params"],
    )
    if "batch_stats" in variables:
        assert_same(found["batch_stats"], variables["batch_stats"])
    with np.load(path) as entries:
        stored = {name: entries[name].dtype for name in entries if name not in ("config",)}
    for name, dtype in stored.items():
        assert dtype == (np.float32 if name.endswith(("/mean", "/var")) else np.float16), name


# --- configs as JSON -----------------------------------------------------------------------------

OLD = {  # what a version before the backbone had a config of its own wrote of camvid_patch2
    "num_classes": 11,
    "vgg_layer": "conv3_3",
    "preprocessing": "torchvision",
    "contrast": "none",
    "finetune_vgg": False,
    "cell": "gru",
    "patch_sizes": [[2, 2], [1, 1]],
    "units": [100, 100],
    "order": ["vertical", "horizontal"],
    "chained": False,
    "initialization": "orthonormal",
    "context": "renet",
    "upsample_sizes": [[2, 2], [2, 2], [2, 2]],
    "upsample_channels": [50, 50, 50],
    "void_class": False,
    "layer_norm": False,
    "skips": [],
    "refine": False,
    "dropout": 0.0,
    "unroll": 1,
    "recompute": False,
    "implementation": "scan",
    "classes": {"names": ["a"] * 11, "palette": [[1, 2, 3]] * 11, "void": 11},
}
NEW = dataclasses.replace(PRESETS["camvid_patch2"].config, preprocessing="torchvision")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, NEW),
        ({"vgg_layer": "conv2_2"}, dataclasses.replace(NEW, tap="conv2_2")),
        ({"vgg_layer": None}, dataclasses.replace(NEW, backbone=None)),
        ({"finetune_vgg": True}, dataclasses.replace(NEW, backbone=VGG16(trainable=True))),
        ({"unroll": 4}, dataclasses.replace(NEW, execution=Execution(unroll=4))),
        ({"unroll": True}, dataclasses.replace(NEW, execution=Execution(unroll="all"))),
        (
            {"recompute": True, "implementation": "pallas"},
            dataclasses.replace(NEW, execution=Execution(remat=True, implementation="pallas")),
        ),
        ({"classes": None}, NEW),
    ],
)
def test_a_config_in_one_piece_is_read(changes, expected):
    """ReSeg was the only network then, so its name is not in there."""
    values = {**OLD, **changes}
    before = json.dumps(values)
    assert saving.config_from_dict(values) == expected
    assert json.dumps(values) == before  # and not changed


def test_a_config_in_one_piece_may_lack_what_came_later():
    """Fields that were added have their defaults."""
    few = {"num_classes": 2, "vgg_layer": None, "preprocessing": "unit"}
    assert saving.config_from_dict(few) == ReSegConfig(
        num_classes=2, backbone=None, preprocessing="unit"
    )


def test_an_unknown_field_or_network_is_named():
    with pytest.raises(UserError, match="ReSegConfig has no field colour"):
        saving.config_from_dict({**OLD, "colour": 1})
    with pytest.raises(UserError, match="VGG16 has no field depth"):
        saving.config_from_dict({"network": "reseg", "backbone": {"depth": 16}})
    with pytest.raises(UserError, match="known are: reseg, fcn, unet"):
        saving.config_from_dict({"network": "alexnet"})


def test_a_file_of_an_older_version_is_read(saved, variables):
    """Its config in one piece, with the classes in it."""
    values = {
        **OLD,
        **{
            name: getattr(CONFIG, name)
            for name in ("num_classes", "patch_sizes", "units", "upsample_sizes")
        },
        "upsample_channels": CONFIG.upsample_channels,
        "vgg_layer": CONFIG.tap,
        "dropout": CONFIG.dropout,
        "classes": dataclasses.asdict(CLASSES),
    }
    wide = dataclasses.replace(CONFIG, backbone=VGG16())  # its width was the published one
    new = random_variables(wide)
    reseg_jax.save(saved, wide, new)
    rewrite(saved, lambda arrays: arrays.update(config=np.asarray(json.dumps(values))))
    found = saving.read(saved)
    assert (found.config, found.classes) == (wide, CLASSES)
    assert_same(found.variables, new)


def test_the_packaged_head_is_camvid_moderns():
    found = saving.read(TRAINED / "camvid.npz")
    expected = PRESETS["camvid_modern"].config
    assert found.config == dataclasses.replace(expected, preprocessing="torchvision")
    assert (len(found.classes.names), found.classes.void) == (11, 11)
    assert set(found.variables) == {"params"}  # the VGG is public


def test_what_an_older_version_wrote_of_a_run_is_read():
    """Classes were part of the config, and some settings had other names."""
    settings = {"average": 0.9, "versions": 2, "colour": 0.25, "vgg_rate": 0.5, "epochs": 3}
    about = workdir.about({"config": OLD, "settings": settings})
    assert about.config == NEW
    assert about.settings == TrainSettings(
        ema_decay=0.9, num_augmented_copies=2, color=0.25, backbone_rate=0.5, epochs=3
    )
    assert about.classes == Classes(("a",) * 11, ((1, 2, 3),) * 11, void=11)


def test_every_kept_run_is_read():
    """As the file says it; fields that came later have their defaults."""
    settings, vgg = (
        json.loads(json.dumps(dataclasses.asdict(part))) for part in (TrainSettings(), VGG16())
    )
    later = {"settings": settings, "config": {"dtype": "float32"}}
    paths = sorted(RUNS.glob("*.json"))
    kept = records.read(RUNS)
    assert len(kept) == len(paths) >= 39
    for record, path in zip(kept, paths, strict=True):
        text = json.loads(path.read_text())
        assert record.history == text["history"], path.name
        run = json.loads(json.dumps(workdir.to_dict(record.run)))
        said = {name: text[name] for name in run}
        said |= {name: later[name] | said[name] for name in later}
        if backbone := said["config"]["backbone"]:
            said["config"]["backbone"] = vgg | backbone
        assert run == said, path.name


# --- files that are none -------------------------------------------------------------------------


def test_a_wrong_shape_names_the_parameter_and_both_shapes(saved):
    rewrite(saved, lambda arrays: arrays.update({"classifier/kernel": np.zeros((4, 7))}))
    with pytest.raises(UserError, match=r"classifier/kernel has shape \(4, 7\).*needs \(4, 3\)"):
        saving.read(saved)


@pytest.mark.parametrize("name", ["renet_0/vertical/forward/bias", "vgg/conv1_1/bias"])
def test_a_missing_parameter_is_named(saved, name):
    rewrite(saved, lambda arrays: arrays.pop(name))
    with pytest.raises(UserError, match=f"{name} is missing"):
        saving.read(saved)


@pytest.mark.parametrize("content", [b"no archive", b"PK\x03\x04 cut off"])
def test_a_file_that_is_none_is_one_sentence(tmp_path, content):
    path = tmp_path / "network.npz"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"network\.npz is no network saved by reseg_jax\.save"):
        saving.read(path)


def test_a_truncated_file_is_one_sentence(saved):
    saved.write_bytes(saved.read_bytes()[:-400])
    with pytest.raises(UserError, match="is no network saved by"):
        saving.read(saved)


@pytest.mark.parametrize("text", ["{", "[]", "3", ""])
def test_a_config_that_is_none_is_one_sentence(saved, text):
    rewrite(saved, lambda arrays: arrays.update(config=np.asarray(text)))
    with pytest.raises(UserError, match="is no network saved by"):
        saving.read(saved)


def test_other_archives_are_refused(tmp_path):
    """Of arrays that are no network's, and of one array."""
    path = tmp_path / "network.npz"
    np.savez(path, kernel=np.zeros(3))
    with pytest.raises(UserError, match="is no network saved by"):
        saving.read(path)
    with open(path, "wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(UserError, match="is no network saved by"):
        saving.read(path)


def test_a_field_that_this_version_lacks_is_named_with_the_file(saved):
    config = {**saving.config_to_dict(CONFIG), "attention": True}
    rewrite(saved, lambda arrays: arrays.update(config=np.asarray(json.dumps(config))))
    with pytest.raises(UserError, match=r"network\.npz: ReSegConfig has no field attention"):
        saving.read(saved)


def test_a_missing_file_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match=r"^.*network\.npz does not exist: check the path$"):
        saving.read(tmp_path / "network.npz")
