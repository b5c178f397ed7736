"""`experiments.train`: what it prints and leaves, going on, and what it refuses."""

import json
import signal
import time

import numpy as np
import pytest
from PIL import Image

from data.camvid import CLASSES
from reseg_jax.training.workdir import lock
from tests.support.typed import TINY, refused, train, train_unet, typed_train


@pytest.mark.slow
def test_your_own_folders_train_and_score(run, home, tmp_path):
    """Images, labels and two classes by flags; evaluate finds them again, and adds baselines."""
    table = {"names": ["sky", "road"], "palette": [[9, 9, 200], [90, 0, 0]], "void": CLASSES.void}
    (tmp_path / "classes.json").write_text(json.dumps(table))
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    for index in range(4):
        image, label = (
            Image.open(home / "CamVid" / folder / f"frame{index}.png")
            for folder in ("train", "trainannot")
        )
        two = np.array(label)
        two[two == CLASSES.names.index("road")] = 1
        for name in (f"a{index}", f"b{index}", f"c{index}"):
            image.save(tmp_path / "images" / f"{name}.png")
            Image.fromarray(two).save(tmp_path / "labels" / f"{name}.png")
    finished = run(
        "train",
        "--preset=camvid_no_vgg",
        "--dataset=folder",
        f"--images={tmp_path / 'images'}",
        f"--labels={tmp_path / 'labels'}",
        f"--classes={tmp_path / 'classes.json'}",
        f"--workdir={tmp_path / 'run'}",
        "--epochs=1",
        *TINY,
    )
    assert finished.returncode == 0, finished.stderr
    path = tmp_path / "scores.json"
    finished = run("evaluate", f"--workdir={tmp_path / 'run'}", f"--json={path}")
    assert finished.returncode == 0, finished.stderr
    assert "images of folder val" in finished.stdout
    scores = json.loads(path.read_text())
    road, sky = (scores["baselines"][f"all_{name}"] for name in ("foreground", "background"))
    assert 0 < road["foreground_iou"] == road["global_accuracy"] < 1
    assert sky["foreground_iou"] == 0
    assert sky["global_accuracy"] == pytest.approx(1 - road["global_accuracy"])
    (line,) = [line for line in finished.stdout.splitlines() if line.startswith("accuracy  ")]
    shares = [found["global_accuracy"] for found in (scores, road, sky)]
    assert line.split() == ["accuracy", *(f"{100 * share:.2f}" for share in shares)]
    refused(run("train", "--dataset=folder", f"--workdir={tmp_path / 'other'}"), "images")


def test_train_prints_the_score_and_draws(trained):
    workdir, finished = trained
    assert "epoch 2/2" in finished.stderr
    assert "images/s" in finished.stderr
    assert "\r" not in finished.stderr  # no terminal: plain lines
    history = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    best = max(record["val"]["miou"] for record in history)
    assert f"mIoU {100 * best:.2f}" in finished.stdout
    assert "bicyclist" in finished.stdout
    assert sorted(p.name for p in (workdir / "pictures").iterdir()) == [
        "frame0_panels.png",
        "frame1_panels.png",
    ]


@pytest.mark.slow
def test_the_same_command_and_seed_give_the_same_metrics(trained, run, home):
    again = train(run, home, home / "again", "--epochs=2", "--pictures=0")
    assert again.returncode == 0, again.stderr
    first, second = (home / name / "metrics.jsonl" for name in ("run", "again"))
    assert first.read_bytes() == second.read_bytes()


def test_a_second_training_in_one_workdir_is_refused_and_changes_nothing(trained, run, home):
    """Before it looks for its data."""
    workdir = trained[0]
    before = {path: path.read_bytes() for path in workdir.rglob("*") if path.is_file()}
    with lock(workdir):
        more = train(run, home, workdir, "--epochs=9", "--set=keep=7", "--data_dir=/nowhere")
    refused(more, "another training", str(workdir), "--workdir")
    assert {path: path.read_bytes() for path in workdir.rglob("*") if path.is_file()} == before


@pytest.mark.slow
def test_a_signal_within_an_epoch_saves_and_the_run_ends_as_if_there_had_been_none(
    trained, started, run, home
):
    """After the first checkpoint, wherever that is."""
    workdir = home / "terminated"
    flags = typed_train(home, workdir, "--epochs=2", "--pictures=0", "--save_minutes=0")
    process = started("train", *flags)
    while not list(workdir.glob("checkpoints/[0-9]*")):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    asked = time.monotonic()
    _, stderr = process.communicate(timeout=60)
    assert process.returncode in (143, 0), stderr  # 0: it was at its end
    assert time.monotonic() - asked < 30
    assert "Traceback" not in stderr
    finished = run("train", *flags)
    assert finished.returncode == 0, finished.stderr
    assert (workdir / "metrics.jsonl").read_bytes() == (trained[0] / "metrics.jsonl").read_bytes()
    checked = run("check", f"--workdir={workdir}")
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.slow
def test_a_finished_run_goes_on_with_more_epochs(trained, run, home):
    workdir = home / "longer"
    for epochs in (1, 2):
        finished = train(run, home, workdir, f"--epochs={epochs}", "--pictures=0")
        assert finished.returncode == 0, finished.stderr
    assert "resuming" in finished.stderr
    # Two epochs in two calls end where two in one call do.
    assert (workdir / "metrics.jsonl").read_bytes() == (trained[0] / "metrics.jsonl").read_bytes()


@pytest.mark.slow
def test_fields_of_older_versions_are_known(run, home, tmp_path):
    """The same run under the names of before and of today: the second call is a finished one."""
    flags = ("--preset=camvid", "--epochs=1", "--pictures=0")
    old = ("--set=vgg_layer=None", "--set=recompute=true", "--set=average=0.5")
    new = ("--set=backbone=None", "--set=execution.remat=true", "--set=ema_decay=0.5")
    for names in (old, new):
        finished = train(run, home, tmp_path, *flags, *names)
        assert finished.returncode == 0, finished.stderr
    about = json.loads((tmp_path / "run.json").read_text())
    assert about["config"]["backbone"] is None
    assert about["config"]["execution"]["remat"] is True
    assert about["settings"]["ema_decay"] == 0.5


@pytest.mark.slow
def test_a_training_begins_with_a_trained_network(trained, run, home):
    workdir, start = home / "started", f"--start_from={trained[0]}"
    refused(train(run, home, workdir, start, "--cell=lstm"), "has other layers", "leave out")
    refused(train(run, home, workdir, start, "--vgg_weights=x.npz"), str(trained[0]), "its own")
    finished = train(run, home, workdir, start, "--epochs=1", "--pictures=0")
    assert finished.returncode == 0, finished.stderr
    scratch, started = (
        json.loads((folder / "metrics.jsonl").read_text().splitlines()[0])
        for folder in (trained[0], workdir)
    )
    assert started["train_loss"] < scratch["train_loss"]
    assert json.loads((workdir / "run.json").read_text())["settings"]["start_from"] == str(
        trained[0]
    )


def test_a_workdir_of_another_run_is_refused(trained, run, home):
    finished = train(run, home, trained[0], "--cell=lstm")
    refused(finished, "belongs to another run", "cell: 'lstm' here, 'gru' there")


@pytest.mark.slow
def test_a_network_that_the_flags_do_not_fit_is_one_sentence(run, home, tmp_path):
    other = train_unet(run, home, tmp_path, "--preset=camvid_no_vgg")
    refused(other, "--network=unet", "--preset=camvid_no_vgg", "reseg", "leave one")
    refused(train_unet(run, home, tmp_path, "--cell=lstm"), "--cell=lstm", "UNetConfig", "channels")
    trained = train_unet(run, home, tmp_path, "--finetune_vgg")
    refused(trained, "backbone.trainable", "leave it out")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("preset", "parameters"),
    # FCN-8s: VGG-16 up to fc7, 134,260,544; scores of fc7, pool4, pool3 for 11 classes with their
    # biases, 11 (4096 + 512 + 256 + 3); two 4x4 upsamplings of 11 channels. U-Net: by its layers.
    [("camvid_fcn8s", 134_260_544 + 11 * 4867 + 2 * 16 * 11**2), ("camvid_unet", None)],
)
def test_a_preset_of_another_network_is_described(run, preset, parameters):
    finished = run("train", "--dataset=camvid", f"--preset={preset}", "--dry_run")
    assert finished.returncode == 0, finished.stderr
    assert "GFLOP" in finished.stdout
    if parameters:
        assert f"{parameters:,} trained, 0 frozen" in finished.stdout


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        (("--dataset=cityscapes",), ("dataset", "camvid", "toy")),
        (("--optimizer=magic",), ("optimizer", "adadelta", "adam")),
        (("--set=shade=red",), ("shade=red", "units", "batch_size")),
        (("--set=cell=gruu",), ("cell='gruu'", "gru, lstm, rnn")),
        (("--batch_size=5",), ("a batch of 5 is larger", "--batch_size")),
        (("--data_dir=/nowhere",), ("/nowhere",)),
        (("--worrkdir=x",), ("worrkdir",)),
    ],
)
def test_bad_flags_are_one_sentence(run, home, tmp_path, flags, parts):
    refused(train(run, home, tmp_path / "run", "--epochs=1", *flags), *parts)


def test_a_disk_that_cannot_be_written_is_one_sentence(run, home, tmp_path):
    (tmp_path / "file").write_text("")
    refused(train(run, home, tmp_path / "file" / "run", "--epochs=1"), "cannot write")


@pytest.mark.slow
def test_a_run_on_smaller_images_says_so_when_it_sees_whole_ones(run, tmp_path):
    workdir = f"--workdir={tmp_path / 'run'}"
    few = ("--epochs=1", "--pictures=1", "--set", "units=[3,3]", "--set", "shrink=2")
    finished = run("train", "--dataset=toy", workdir, *few)
    assert finished.returncode == 0, finished.stderr
    whole = run("evaluate", workdir)
    assert "2 times smaller: --scales=0.5" in whole.stderr
    assert "times smaller" not in run("evaluate", workdir, "--scales=0.5").stderr
