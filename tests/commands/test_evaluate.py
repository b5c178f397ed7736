"""`experiments.evaluate`: the same scores as in training, averages, and what it refuses."""

import json
import shutil

import pytest

import reseg_jax
from data.camvid import CLASSES
from tests.support.typed import AVERAGED, refused

pytestmark = pytest.mark.slow


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


@pytest.mark.slow
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


@pytest.mark.slow
def test_evaluate_scores_segments(trained, run, home):
    """Of both frames the sky is one segment above the road."""
    path = home / "segments.json"
    flags = (f"--workdir={trained[0]}", f"--json={path}")
    finished = run("evaluate", *flags, "--boundary=road")
    assert finished.returncode == 0, finished.stderr
    found = json.loads(path.read_text())["segments"]
    assert (found["boundary"], found["true_segments"]) == ("road", 2)
    assert f"SEG   {100 * found['seg']:>9.2f}  of 2 true segments" in finished.stdout
    refused(run("evaluate", *flags, "--boundary=membrane"), "--boundary=membrane", "sky, building")


@pytest.mark.slow
def test_evaluate_says_that_images_were_cut_into_tiles(trained, run, home):
    path = home / "tiles.json"
    finished = run("evaluate", f"--workdir={trained[0]}", f"--json={path}", "--tile=16", "--flip")
    assert finished.returncode == 0, finished.stderr
    scored = json.loads(path.read_text())["scored"]
    assert (scored["tile"], scored["overlap"], scored["flip"]) == (16, 4, True)
    assert "averaged over mirror images, in tiles of 16 pixels that share 4" in finished.stdout


@pytest.mark.slow
def test_evaluate_averages_runs_of_one_network(trained, run, home):
    """A run of one epoch and one of two: as the two checkpoints of the longer one."""
    longer, shorter, path = trained[0], home / "shorter", home / "runs.json"
    shutil.copytree(longer, shorter)

    def scores(*flags):
        finished = run("evaluate", f"--json={path}", *flags)
        assert finished.returncode == 0, finished.stderr
        scores = json.loads(path.read_text())
        return scores["iou"], scores["scored"], finished.stdout

    both = scores(f"--workdir={shorter},{longer}", "--average=2")  # they are still alike
    shutil.rmtree(shorter / "checkpoints" / "4")
    one = scores(f"--workdir={longer}", "--average=2")
    two = scores(f"--workdir={shorter},{longer}", "--checkpoint=latest")
    assert one[0] == two[0] == both[0]
    assert [about["steps"] for _, about, _ in (one, two, both)] == [[2, 4], [2, 4], [2, 4, 2, 4]]
    assert [about["runs"] for _, about, _ in (one, two, both)] == [1, 2, 2]
    assert [about["average"] for _, about, _ in (one, two, both)] == [2, 1, 2]
    assert f"{shorter}: checkpoint latest (step 2); {longer}: " in two[2]


@pytest.mark.slow
def test_runs_of_other_classes_or_images_are_not_averaged(trained, run, home):
    one, other = trained[0], home / "other"
    shutil.copytree(one, other)

    def evaluate(part, changes, *flags):
        about = json.loads((one / "run.json").read_text())
        about[part] |= changes
        del about["checksum"]  # as a refusal of a changed one says
        (other / "run.json").write_text(json.dumps(about))
        return run("evaluate", f"--workdir={one},{other}", *flags)

    names = ["heaven", *CLASSES.names[1:]]
    finished = evaluate("classes", {"names": names})
    refused(finished, "--workdir", f"{other} has the classes heaven, building", "same classes")
    held_out = {"data_options": ["hold_out=frame1"]}
    finished = evaluate("settings", held_out, "--dataset=camvid")
    refused(finished, "--workdir", "differ in --dataset or --data_options")
    finished = evaluate("settings", held_out, "--dataset=camvid", "--data_options=")
    assert "2 images of camvid val" in finished.stdout, finished.stderr


@pytest.mark.slow
def test_evaluate_takes_a_held_out_sequence_or_none(trained, run, home):
    path = home / "held_out.json"
    for options, count in (("hold_out=frame1", 1), ("", 2)):
        flags = (f"--workdir={trained[0]}", f"--data_options={options}", f"--json={path}")
        finished = run("evaluate", *flags)
        assert finished.returncode == 0, finished.stderr
        scored = json.loads(path.read_text())["scored"]
        assert scored["images"] == count
        assert scored["data_options"] == [options] * bool(options)


@pytest.mark.slow
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


@pytest.mark.slow
def test_evaluate_refuses_a_split_that_is_not_there(trained, run, home):
    finished = run("evaluate", f"--workdir={trained[0]}", "--split=test")
    refused(finished, "test split", "train, val")


@pytest.mark.slow
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
    path = home / "adjusted.json"
    # --discount: what the flag was called before
    adjusted = [
        run("evaluate", f"--workdir={trained[0]}", flag, f"--json={path}")
        for flag in ("--logit_adjustment=1", "--discount=1")
    ]
    assert "logits adjusted by 1" in adjusted[0].stdout
    assert adjusted[0].stdout == adjusted[1].stdout
    assert f"mIoU {100 * best:.2f}" not in adjusted[0].stdout
    assert json.loads(path.read_text())["scored"]["logit_adjustment"] == 1
    refused(
        run(*command, "--dataset=weizmann_horse"), "has 2 classes", "the network 11", "same classes"
    )
