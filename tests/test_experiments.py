"""The commands as a user types them, in processes of their own, on a tiny CamVid folder."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import data
import reseg_jax
from data.camvid import CLASSES
from reseg_jax import runs

ROOT = Path(__file__).parents[1]
TINY = (
    *("--set=patch_sizes=[[2,2]]", "--set=units=[4]", "--set=upsample_sizes=[[2,2]]"),
    *("--set=upsample_channels=[4]", "--set=dropout=0.25", "--batch_size=2"),
)
AVERAGED = ("--flip", "--scales=0.75,1", "--samples=2", "--average=2")


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


def test_the_same_command_and_seed_give_the_same_metrics(trained, run, home):
    again = train(run, home, home / "again", "--epochs=2", "--pictures=0")
    assert again.returncode == 0, again.stderr
    first, second = (home / name / "metrics.jsonl" for name in ("run", "again"))
    assert first.read_bytes() == second.read_bytes()


def test_a_second_training_in_one_workdir_is_refused(run, home, tmp_path):
    with runs.held(tmp_path):
        refused(train(run, home, tmp_path), "another training", str(tmp_path), "--workdir")
    assert train(run, home, tmp_path).returncode == 0


def test_a_finished_run_goes_on_with_more_epochs(run, home):
    workdir = home / "longer"
    for epochs in (1, 2):
        finished = train(run, home, workdir, f"--epochs={epochs}", "--pictures=0")
        assert finished.returncode == 0, finished.stderr
    assert "resuming" in finished.stderr
    # Two epochs in two calls end where two in one call do.
    assert (workdir / "metrics.jsonl").read_bytes() == (home / "run/metrics.jsonl").read_bytes()


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
    assert (scored["scales"], scored["samples"], scored["average"]) == ([1.0], 0, 1)
    assert scored["config"]["units"] == [4]
    assert f"mIoU {100 * scores['miou']:.2f}" in finished.stdout


def test_evaluate_averages_whatever_is_asked_for(trained, run, home):
    workdir = f"--workdir={trained[0]}"
    path = home / "averaged.json"
    finished = run("evaluate", workdir, f"--json={path}", *AVERAGED)
    assert finished.returncode == 0, finished.stderr
    scores = json.loads(path.read_text())
    assert 0 < scores["miou"] < 1
    scored = scores["scored"]
    assert (scored["flip"], scored["scales"], scored["samples"]) == (True, [0.75, 1.0], 2)
    assert (scored["average"], scored["steps"], scored["step"]) == (2, [2, 4], 4)
    assert "checkpoints of steps 2, 4, averaged over mirror images and scales 0.75, 1" in (
        finished.stdout
    )


def test_evaluate_averages_runs_of_one_network(trained, run, home):
    """A run of one epoch and one of two: as the two checkpoints of the longer one."""
    longer, shorter, path = trained[0], home / "shorter", home / "runs.json"
    shutil.copytree(longer, shorter)
    shutil.rmtree(shorter / "checkpoints" / "4")
    found = []
    for flags in (
        (f"--workdir={longer}", "--average=2"),
        (f"--workdir={shorter},{longer}", "--checkpoint=latest"),
    ):
        finished = run("evaluate", f"--json={path}", *flags)
        assert finished.returncode == 0, finished.stderr
        found.append(json.loads(path.read_text()))
    one, two = found
    assert two["iou"] == one["iou"]
    assert [each["scored"]["steps"] for each in found] == [[2, 4], [2, 4]]
    assert (two["scored"]["runs"], two["scored"]["average"]) == (2, 1)
    assert f"{shorter}: checkpoint latest (step 2); {longer}: " in finished.stdout

    changed = json.loads((shorter / "run.json").read_text())
    changed["config"]["dropout"] = 0.5
    (shorter / "run.json").write_text(json.dumps(changed))
    flags = f"--workdir={longer},{shorter}"
    refused(run("evaluate", flags), "--workdir", str(shorter), "another network")


def test_evaluate_takes_a_held_out_sequence_or_none(trained, run, home):
    path = home / "held_out.json"
    for options, count in (("hold_out=frame1", 1), ("", 2)):
        flags = (f"--workdir={trained[0]}", f"--data_options={options}", f"--json={path}")
        finished = run("evaluate", *flags)
        assert finished.returncode == 0, finished.stderr
        scored = json.loads(path.read_text())["scored"]
        assert scored["images"] == count
        assert scored["data_options"] == [options] * bool(options)


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        (("--average=3",), ("2 readable checkpoints of whole epochs, not 3", "keep=3")),
        (("--average=2", "--checkpoint=latest"), ("checkpoint", "average")),
        (("--scales=1,big",), ("--scales=1,big", "0.75,1,1.25")),
        (("--scales=0",), ("scales=(0.0,)", "above 0")),
    ],
)
def test_what_cannot_be_averaged_is_one_sentence(trained, run, flags, parts):
    refused(run("evaluate", f"--workdir={trained[0]}", *flags), *parts)


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
        "--uncertainty",
        *AVERAGED,
    )
    refused(finished, "1 of 3 images left out")
    assert "cut.png" in finished.stderr
    kinds = ("colour", "labels", "overlay", "panels", "uncertainty")
    expected = [f"frame{i}_{kind}.png" for i in (0, 1) for kind in kinds]
    assert sorted(path.name for path in output.iterdir()) == expected
    labels = np.array(Image.open(output / "frame0_labels.png"))
    assert labels.shape == (20, 24)
    assert labels.max() < 11
    colours = np.array(Image.open(output / "frame0_colour.png").convert("RGB"))
    np.testing.assert_array_equal(colours, np.array(CLASSES.palette)[labels])
    grey = np.array(Image.open(output / "frame0_uncertainty.png"))
    assert (grey.dtype, grey.shape) == (np.uint8, (20, 24))
    assert grey.min() > 127  # hardly trained, it is unsure everywhere


def test_a_saved_network_predicts_and_has_no_checkpoints(trained, run, home):
    config, variables = reseg_jax.load(trained[0])
    reseg_jax.save(home / "net.npz", config, variables)
    frame = home / "CamVid/val/frame0.png"
    command = ("predict", f"--model={home / 'net.npz'}", f"--input={frame}")
    finished = run(*command, f"--output={home / 'by_file'}")
    assert finished.returncode == 0, finished.stderr
    labels = np.array(Image.open(home / "by_file/frame0_labels.png"))
    expected = reseg_jax.predict(config, variables, np.array(Image.open(frame)))
    assert (labels == expected).mean() > 0.99  # all but ties: here it is one device
    refused(run(*command, f"--output={home / 'no'}", "--average=2"), "model", "average")


def test_an_exported_head_is_the_run_without_its_prior(trained, run, home):
    """Frequent classes lose by --discount, and the rest of the network stays."""
    path = home / "exported.npz"
    command = ("export", f"--workdir={trained[0]}")
    finished = run(*command, f"--output={path}", "--discount=0.5")
    assert finished.returncode == 0, finished.stderr
    config, exported = reseg_jax.load(path)
    assert config == reseg_jax.load(trained[0])[0]
    before, after = (v["params"]["classifier"] for v in (reseg_jax.load(trained[0])[1], exported))
    np.testing.assert_allclose(after["kernel"], before["kernel"], rtol=2**-10, atol=1e-7)
    labels = [example.label for example in data.load("camvid", "train", home)]
    shares = np.bincount(np.concatenate(labels, axis=None), minlength=256)[:11]
    seen = np.flatnonzero(shares)
    raised = (after["bias"] - before["bias"])[seen]
    expected = -0.5 * np.log(shares[seen] / shares.sum())
    np.testing.assert_allclose(raised, expected, rtol=2e-3, atol=2e-3)
    refused(run(*command, "--output=head.pkl"), "--output=head.pkl", ".npz")


def test_a_saved_network_is_scored_on_the_dataset_that_is_named(trained, run, home):
    model = f"--model={home / 'scored.npz'}"
    reseg_jax.save(home / "scored.npz", *reseg_jax.load(trained[0]))
    command = ("evaluate", model, f"--data_dir={home}", f"--json={home / 'by_model.json'}")
    finished = run(*command, "--dataset=camvid")
    assert finished.returncode == 0, finished.stderr
    lines = (trained[0] / "metrics.jsonl").read_text().splitlines()
    best = max(json.loads(line)["val"]["miou"] for line in lines)
    scores = json.loads((home / "by_model.json").read_text())
    assert scores["miou"] == pytest.approx(best)
    assert scores["scored"]["model"] == str(home / "scored.npz")
    refused(run(*command), "--model does not say", "give --dataset")
    discounted = run("evaluate", f"--workdir={trained[0]}", "--discount=1")
    assert "frequencies discounted by 1" in discounted.stdout
    assert f"mIoU {100 * best:.2f}" not in discounted.stdout
    refused(run(*command, "--dataset=weizmann_horse"), "horse", "building", "same classes")


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


def test_help_reads_well(run):
    finished = run("train", "--help")
    assert finished.returncode == 0
    assert "the same command again goes on" in finished.stdout
    assert "--[no]finetune_vgg" in finished.stdout
