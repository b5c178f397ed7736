"""A network by its name: trained, resumed, scored, drawn and exported as ReSeg is."""

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

import reseg_jax
from data.camvid import CLASSES
from reseg_jax.networks.unet import UNetConfig
from tests.support.networks import SMALL, random_variables
from tests.support.typed import train_unet


@pytest.fixture(scope="module")
def unet(run, home):
    """The workdir of a U-Net of two levels, trained for an epoch and then for another."""
    workdir = home / "unet"
    for constant in ("--epochs=1", "--epochs=2"):
        finished = train_unet(run, home, workdir, "--set=schedule=constant", constant)
        assert finished.returncode == 0, finished.stderr
    assert "resuming" in finished.stderr
    return workdir


@pytest.mark.slow
def test_it_is_the_network_that_was_named(unet):
    config, variables = reseg_jax.load(unet)
    assert isinstance(config, UNetConfig)
    assert (config.channels, config.num_classes) == ((2, 3), 11)
    assert "batch_stats" in variables
    history = [json.loads(line) for line in (unet / "metrics.jsonl").read_text().splitlines()]
    assert [epoch["epoch"] for epoch in history] == [1, 2]


@pytest.mark.slow
def test_it_is_scored_as_in_training(unet, run, tmp_path):
    path = tmp_path / "scores.json"
    finished = run("evaluate", f"--workdir={unet}", f"--json={path}")
    assert finished.returncode == 0, finished.stderr
    history = [json.loads(line) for line in (unet / "metrics.jsonl").read_text().splitlines()]
    scores = json.loads(path.read_text())
    assert scores["miou"] == pytest.approx(max(epoch["val"]["miou"] for epoch in history))
    assert scores["scored"]["config"]["network"] == "unet"


@pytest.mark.slow
def test_its_exported_file_predicts_as_the_run_does(unet, run, home, tmp_path):
    path, frame = tmp_path / "unet.npz", home / "CamVid/val/frame0.png"
    finished = run("export", f"--workdir={unet}", f"--output={path}")
    assert finished.returncode == 0, finished.stderr
    config, variables = reseg_jax.load(path)
    run_config, run_variables = reseg_jax.load(unet)
    assert config == run_config
    kernel, rounded = (v["params"]["classifier"]["kernel"] for v in (run_variables, variables))
    np.testing.assert_allclose(rounded, kernel, rtol=2**-10, atol=1e-7)  # float16
    finished = run("predict", f"--model={path}", f"--input={frame}", f"--output={tmp_path}")
    assert finished.returncode == 0, finished.stderr
    labels = np.array(Image.open(tmp_path / "frame0_labels.png"))
    expected = reseg_jax.predict(config, variables, np.array(Image.open(frame)))
    assert labels.shape == (20, 24)
    assert (labels == expected).mean() > 0.99  # all except ties: here it is one device


@pytest.mark.slow
def test_it_is_averaged_with_a_network_of_another_kind(trained, unet, run, home, tmp_path):
    path, frame = tmp_path / "scores.json", home / "CamVid/val/frame0.png"
    both = f"--workdir={trained[0]},{unet}"
    finished = run("evaluate", both, f"--json={path}")
    assert finished.returncode == 0, finished.stderr
    scores = json.loads(path.read_text())
    alone = []
    for workdir in (trained[0], unet):
        assert run("evaluate", f"--workdir={workdir}", f"--json={path}").returncode == 0
        alone.append(json.loads(path.read_text()))
    members = scores["scored"]["members"]
    assert [member["miou"] for member in members] == [one["miou"] for one in alone]
    assert [member["config"].get("network") for member in members] == ["reseg", "unet"]
    rows = [line for line in finished.stdout.splitlines() if line.startswith(str(home))]
    for row, one in zip(rows, alone, strict=True):
        assert f"{100 * one['miou']:.2f}" in row
    finished = run("predict", both, f"--input={frame}", f"--output={tmp_path}")
    assert finished.returncode == 0, finished.stderr
    image, terms = np.array(Image.open(frame)), []
    for workdir in (trained[0], unet):
        terms.append(reseg_jax.predict_probabilities(*reseg_jax.load(workdir), image))
    labels = np.array(Image.open(tmp_path / "frame0_labels.png"))
    assert (labels == np.mean(terms, axis=0).argmax(axis=-1)).mean() > 0.99  # all except ties


@pytest.mark.slow
def test_a_preset_names_the_stage_and_start_from_the_network(run, home, tmp_path):
    """FCN-16s from FCN-32s with its narrow backbone; without a preset it stays FCN-32s."""
    config = dataclasses.replace(SMALL["fcn, 8s"], num_classes=11, upsample_stride=32)
    reseg_jax.save(tmp_path / "fcn32s.npz", config, random_variables(config), classes=CLASSES)
    common = (f"--start_from={tmp_path / 'fcn32s.npz'}", f"--data_dir={home}", "--dataset=camvid")
    common += ("--epochs=1", "--batch_size=2", "--pictures=0", "--allow_missing_classes")
    for name, flag, stride in (("a", "--preset=camvid_fcn16s", 16), ("b", "--network=fcn", 32)):
        finished = run("train", *common, flag, f"--workdir={tmp_path / name}")
        assert finished.returncode == 0, finished.stderr
        trained, _ = reseg_jax.load(tmp_path / name)
        assert trained.upsample_stride == stride
        assert trained.backbone == config.backbone
