"""--crf of `evaluate` and `predict`, and `experiments.tune_crf`, as a user types them."""

import json
import shlex

import numpy as np
import pytest
from PIL import Image

import data
import reseg_jax
from reseg_jax.inference.crf import CRF, refine
from reseg_jax.inference.predict import predict_probabilities
from reseg_jax.metrics import confusion_matrix, summarize
from tests.support.typed import refused

pytestmark = pytest.mark.slow

FLAGS = ("--crf", "--crf_w1=2", "--crf_sigma_beta=20", "--crf_steps=3")
TYPED = CRF(w1=2, sigma_beta=20, steps=3)


@pytest.fixture(scope="module")
def by_library(trained, home):
    """{crf or None: (labels of the validation frames, their mIoU)}."""
    config, variables = reseg_jax.load(trained[0])
    examples = data.load("camvid", "val", home)
    scores = [predict_probabilities(config, variables, example.image) for example in examples]
    found = {}
    for crf in (None, TYPED):
        labels = [
            (refine(each, example.image, crf) if crf else each).argmax(-1)
            for each, example in zip(scores, examples, strict=True)
        ]
        matrices = [
            confusion_matrix(example.label, each, 11)
            for each, example in zip(labels, examples, strict=True)
        ]
        found[crf] = labels, summarize(sum(matrices))["miou"]
    return found


def test_evaluate_scores_with_and_without(trained, run, home, by_library):
    path = home / "crf.json"
    finished = run("evaluate", f"--workdir={trained[0]}", f"--json={path}", *FLAGS)
    assert finished.returncode == 0, finished.stderr
    scores = json.loads(path.read_text())
    # Within a few pixels of 960 that rounding decides: here it is one device.
    assert scores["miou"] == pytest.approx(by_library[TYPED][1], abs=0.01)
    assert scores["without_crf"]["miou"] == pytest.approx(by_library[None][1], abs=0.01)
    crf = {"w1": 2, "sigma_alpha": CRF.sigma_alpha, "sigma_beta": 20, "w2": 3, "sigma_gamma": 3}
    assert scores["scored"]["crf"] == crf | {"steps": 3}
    assert "refined by a dense CRF" in finished.stdout
    assert f"mIoU {100 * scores['miou']:.2f}" in finished.stdout
    table = [line.split() for line in finished.stdout.splitlines()]
    plain, refined = scores["without_crf"], scores
    for words, found in ((["dense", "CRF"], refined), (["checkpoint", "best"], plain)):
        (row,) = [row for row in table if row[:2] == words]
        assert f"{100 * found['miou']:.2f}" in row


def test_predict_draws_what_is_refined(trained, run, home, by_library):
    command = ("predict", f"--workdir={trained[0]}", f"--input={home / 'CamVid/val'}")
    finished = run(*command, f"--output={home / 'refined'}", "--uncertainty", *FLAGS)
    assert finished.returncode == 0, finished.stderr
    for index, expected in enumerate(by_library[TYPED][0]):
        labels = np.array(Image.open(home / f"refined/frame{index}_labels.png"))
        assert (labels == expected).mean() > 0.99
    finished = run(*command, f"--output={home / 'no'}", "--crf_w1=2")
    refused(finished, "--crf_w1 is a parameter of --crf: give both")
    refused(run(*command, f"--output={home / 'no'}", "--crf", "--crf_w1=-2"), "w1=-2", "from 0")


def test_the_best_of_a_grid_is_printed_as_flags(trained, run, home, by_library):
    path = home / "tuned.json"
    command = ("tune_crf", f"--workdir={trained[0]}")
    grid = ("--w1=0.5,2", "--sigma_alpha=65", "--sigma_beta=20", "--crf", "--crf_steps=3")
    finished = run(*command, *grid, f"--json={path}")
    assert finished.returncode == 0, finished.stderr
    tuned = json.loads(path.read_text())
    mious = {row["crf"]["w1"]: row["miou"] for row in tuned["crfs"]}
    assert mious[2] == pytest.approx(by_library[TYPED][1], abs=0.01)
    assert tuned["without_crf"] == pytest.approx(by_library[None][1], abs=0.01)
    assert tuned["crfs"][0]["miou"] == max(mious.values())
    assert "2 images of camvid val, 2 CRFs" in finished.stdout
    last = finished.stdout.splitlines()[-1]
    assert last.startswith("best: --crf --crf_w1=")
    again = run("evaluate", f"--workdir={trained[0]}", *shlex.split(last.removeprefix("best: ")))
    assert f"mIoU {100 * max(mious.values()):.2f}" in again.stdout, again.stderr


def test_the_test_split_chooses_nothing(trained, run):
    command = ("tune_crf", f"--workdir={trained[0]}")
    refused(run(*command, "--split=test"), "--split=test", "validation images")
    refused(run(*command, "--boundary=sky"), "--boundary", "mean IoU only")
    refused(run(*command, "--w1=3,much"), "--w1=3,much", "give numbers")
