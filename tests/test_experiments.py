"""The commands as a user types them, in processes of their own, on a tiny CamVid folder."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.camvid import CLASSES

ROOT = Path(__file__).parents[1]
TINY = ("--set=units=[4,4]", "--set=upsample_channels=[4,4]", "--batch_size=2")


@pytest.fixture(scope="module")
def home(tmp_path_factory, request):
    """A folder with a CamVid of 4 + 2 frames, 24x20 pixels: sky above road, a void corner."""
    home = tmp_path_factory.mktemp("home")
    rng = np.random.default_rng(0)
    for split, count in (("train", 4), ("val", 2)):
        for folder in (split, f"{split}annot"):
            (home / "CamVid" / folder).mkdir(parents=True)
        for index in range(count):
            horizon = rng.integers(6, 14)
            label = np.full((20, 24), 3, np.uint8)
            label[:horizon] = 0
            label[0, :3] = CLASSES.void
            image = rng.integers(0, 60, (20, 24, 3), np.uint8)
            image[:horizon] += 180
            Image.fromarray(image).save(home / "CamVid" / split / f"frame{index}.png")
            Image.fromarray(label).save(home / "CamVid" / f"{split}annot" / f"frame{index}.png")
    return home


@pytest.fixture(scope="module")
def run(home, request):
    """`run(command, *flags)` -> the finished process; the compilation cache is the suite's."""
    compiled = request.config.cache.mkdir("jax")

    def run(command, *flags):
        return subprocess.run(
            [sys.executable, "-m", f"experiments.{command}", *flags],
            cwd=ROOT,
            env={
                **{k: v for k, v in os.environ.items() if k != "RESEG_DATA"},
                "RESEG_CACHE": str(home / "cache"),
                "JAX_COMPILATION_CACHE_DIR": str(compiled),
                "JAX_PLATFORMS": "cpu",
            },
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def train(run, home, workdir, *flags):
    return run(
        "train",
        "--preset=camvid_no_vgg",
        f"--data_dir={home}",
        f"--workdir={workdir}",
        *TINY,
        *flags,
    )


@pytest.fixture(scope="module")
def trained(run, home):
    """(workdir, what train printed)."""
    finished = train(run, home, home / "run", "--epochs=2")
    assert finished.returncode == 0, finished.stderr
    return home / "run", finished


def refused(finished, *parts):
    """Whether a command ended with one sentence that has `parts`, and no traceback."""
    assert finished.returncode == 1
    assert "Traceback" not in finished.stderr
    last = finished.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ")
    for part in parts:
        assert part in last


def test_your_own_folders_train_and_score(run, home, tmp_path):
    """Images, labels and classes by flags; evaluate finds them again from the run."""
    camvid = home / "CamVid"
    table = {"names": CLASSES.names, "palette": CLASSES.palette, "void": CLASSES.void}
    (tmp_path / "classes.json").write_text(json.dumps(table))
    for folder, copy in (("train", "images"), ("trainannot", "labels")):
        for index in range(4):
            for name in (f"a{index}", f"b{index}", f"c{index}"):
                source = camvid / folder / f"frame{index}.png"
                (tmp_path / copy).mkdir(exist_ok=True)
                (tmp_path / copy / f"{name}.png").write_bytes(source.read_bytes())
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
    finished = run("evaluate", f"--workdir={tmp_path / 'run'}")
    assert finished.returncode == 0, finished.stderr
    assert "images of folder val" in finished.stdout
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


def test_the_same_command_and_seed_give_the_same_metrics(trained, run, home):
    again = train(run, home, home / "again", "--epochs=2", "--pictures=0")
    assert again.returncode == 0, again.stderr
    first, second = (home / name / "metrics.jsonl" for name in ("run", "again"))
    assert first.read_bytes() == second.read_bytes()


def test_a_finished_run_goes_on_with_more_epochs(run, home):
    workdir = home / "longer"
    for epochs in (1, 2):
        finished = train(run, home, workdir, f"--epochs={epochs}", "--pictures=0")
        assert finished.returncode == 0, finished.stderr
    assert "resuming" in finished.stderr
    # Two epochs in two calls end where two in one call do.
    assert (workdir / "metrics.jsonl").read_bytes() == (home / "run/metrics.jsonl").read_bytes()


def test_a_workdir_of_another_run_is_refused(trained, run, home):
    finished = train(run, home, trained[0], "--cell=lstm")
    refused(finished, "belongs to another run", "cell: 'lstm' here, 'gru' there")


def test_evaluate_scores_as_training_did(trained, run, home):
    workdir, _ = trained
    finished = run("evaluate", f"--workdir={workdir}", f"--json={home / 'scores.json'}")
    assert finished.returncode == 0, finished.stderr
    scores = json.loads((home / "scores.json").read_text())
    history = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    best = max(history, key=lambda record: record["val"]["miou"])["val"]
    for name in ("miou", "global_accuracy", "mean_class_accuracy", "miou_void_counted"):
        assert scores[name] == pytest.approx(best[name])
    assert list(scores["iou"]) == list(scores["accuracy"]) == list(CLASSES.names)
    assert scores["iou"]["car"] is None or scores["iou"]["car"] == 0
    scored = scores["scored"]
    assert (scored["dataset"], scored["split"], scored["images"]) == ("camvid", "val", 2)
    assert scored["checkpoint"] == "best"
    assert scored["config"]["units"] == [4, 4]
    assert f"mIoU {100 * scores['miou']:.2f}" in finished.stdout


def test_evaluate_refuses_a_split_that_is_not_there(trained, run, home):
    finished = run("evaluate", f"--workdir={trained[0]}", "--split=test")
    refused(finished, "test split", "train, val")


def test_predict_writes_every_picture_and_reports_a_bad_image(trained, run, home):
    frames = home / "CamVid"
    (home / "photos").mkdir()
    for path in (frames / "val").iterdir():
        (home / "photos" / path.name).write_bytes(path.read_bytes())
    whole = (frames / "val" / "frame0.png").read_bytes()
    (home / "photos" / "cut.png").write_bytes(whole[: len(whole) // 2])
    output = home / "predictions"
    finished = run(
        "predict",
        f"--workdir={trained[0]}",
        f"--input={home / 'photos'}",
        f"--output={output}",
        f"--labels={frames / 'valannot'}",
    )
    refused(finished, "1 of 3 images left out")
    assert "cut.png" in finished.stderr
    kinds = ("colour", "labels", "overlay", "panels")
    expected = [f"frame{i}_{kind}.png" for i in (0, 1) for kind in kinds]
    assert sorted(path.name for path in output.iterdir()) == expected
    labels = np.array(Image.open(output / "frame0_labels.png"))
    assert labels.shape == (20, 24)
    assert labels.max() < 11
    colours = np.array(Image.open(output / "frame0_colour.png").convert("RGB"))
    np.testing.assert_array_equal(colours, np.array(CLASSES.palette)[labels])


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        (("--dataset=cityscapes",), ("dataset", "camvid", "toy")),
        (("--optimizer=magic",), ("optimizer", "adadelta", "adam")),
        (("--set=colour=red",), ("colour=red", "units", "batch_size")),
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


def test_help_reads_well(run):
    finished = run("train", "--help")
    assert finished.returncode == 0
    assert "the same command again goes on" in finished.stdout
    assert "--[no]finetune_vgg" in finished.stdout
