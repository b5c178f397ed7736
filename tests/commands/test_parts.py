"""`evaluate` and `predict` on parts of an image: ten crops and boxes."""

import json

import numpy as np
import pytest
from PIL import Image

import reseg_jax
from reseg_jax.inference import ten_crop
from tests.support.typed import refused

pytestmark = pytest.mark.slow


def labels_of(output):
    return np.array(Image.open(output / "frame0_labels.png"))


def test_ten_crops_are_averaged(trained, run, home, tmp_path):
    frame, path = home / "CamVid/val/frame0.png", tmp_path / "scores.json"
    workdir = f"--workdir={trained[0]}"
    finished = run("predict", workdir, f"--input={frame}", f"--output={tmp_path}", "--ten_crop")
    assert finished.returncode == 0, finished.stderr

    def predict(crop):
        return reseg_jax.predict_probabilities(*reseg_jax.load(trained[0]), crop)

    expected = ten_crop.probabilities(predict, np.array(Image.open(frame))[None])[0]
    assert (labels_of(tmp_path) == expected.argmax(axis=-1)).mean() > 0.99
    finished = run("evaluate", workdir, f"--json={path}", "--ten_crop", "--tile=16")
    assert finished.returncode == 0, finished.stderr
    assert "ten crops averaged, in tiles of 16" in finished.stdout
    assert json.loads(path.read_text())["scored"]["ten_crop"] is True
    refused(run("evaluate", workdir, "--ten_crop", "--flip"), "ten_crop", "flip")


def test_boxes_of_whole_images_change_nothing(trained, run, home, tmp_path):
    frames, path = home / "CamVid/val", tmp_path / "scores.json"
    boxes = tmp_path / "boxes.json"
    boxes.write_text(json.dumps({f"frame{i}": [[0, 0, 24, 20]] for i in (0, 1)}))
    workdir = f"--workdir={trained[0]}"
    found = []
    for flags in ((), (f"--proposals={boxes}",)):
        output = tmp_path / str(len(flags))
        finished = run("predict", workdir, f"--input={frames}", f"--output={output}", *flags)
        assert finished.returncode == 0, finished.stderr
        assert run("evaluate", workdir, f"--json={path}", *flags).returncode == 0
        found.append((labels_of(output), json.loads(path.read_text())))
    (labels, scores), (by_boxes, boxes_scores) = found
    assert (labels == by_boxes).mean() > 0.99  # all except ties
    assert boxes_scores["miou"] == pytest.approx(scores["miou"], abs=0.01)
    assert boxes_scores["scored"]["boxes"] == "boxes.json"


def test_boxes_of_one_side_and_a_wrong_one(trained, run, home, tmp_path):
    """An image with a box outside it is left out, and the other is done."""
    boxes = tmp_path / "boxes.json"
    boxes.write_text(json.dumps({"frame0": [[2, 3, 20, 18]], "frame1": [[0, 0, 25, 20]]}))
    flags = (f"--workdir={trained[0]}", f"--proposals={boxes}", "--proposal_size=16")
    finished = run("predict", *flags, f"--input={home / 'CamVid/val'}", f"--output={tmp_path}")
    refused(finished, "1 of 2 images left out")
    assert f"{boxes}: the box [0, 0, 25, 20] of frame1 is not in the image" in finished.stderr
    assert labels_of(tmp_path)[0, 0] == 0  # in no box: all classes are alike
    refused(run("evaluate", *flags), str(boxes), "[0, 0, 25, 20] of frame1", "24x20")
    workdir = flags[0]
    refused(run("evaluate", workdir, "--proposal_size=16"), "--proposal_size is of boxes")
    refused(run("evaluate", *flags, "--tile=16"), "tile", "proposals")
