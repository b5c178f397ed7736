"""A run on black-and-white masks of one's own: what it says, and data that moved or changed."""

import json

import numpy as np
import pytest

from tests.support.dataset_files import write
from tests.support.folder_data import dataset, photo, truth
from tests.support.typed import TINY, refused

pytestmark = pytest.mark.slow

NAMES = [f"train/{number}" for number in range(4)] + ["val/4", "val/5"]
SIZE = (16, 20)


@pytest.fixture(scope="module")
def own(tmp_path_factory, run):
    """(run on a dataset, its workdir, where the dataset has been moved since)."""
    home = tmp_path_factory.mktemp("own")
    masks = {name: truth(int(name[-1]), SIZE) * np.uint8(255) for name in NAMES}
    folder, workdir = dataset(home / "before", masks), home / "run"
    places = [f"--{place}={folder / place}" for place in ("images", "labels")]
    finished = train(run, workdir, *places, f"--classes={folder / 'classes.json'}")
    assert finished.returncode == 0, finished.stderr
    return finished, workdir, folder.rename(home / "after")


def train(run, workdir, *flags):
    command = ("train", "--preset=camvid_no_vgg", "--dataset=folder", f"--workdir={workdir}")
    return run(*command, "--epochs=1", *TINY, *flags)


def test_training_says_what_it_reads(own):
    finished, workdir, _ = own
    assert "labels: gray levels, 0 = background, 255 = object" in finished.stderr
    assert "train: 4 images, 0 % void; of the labeled pixels, in %: background" in finished.stderr
    reading = json.loads((workdir / "run.json").read_text())["classes"]["reading"]
    assert reading == {"kind": "gray levels", "meaning": [[0, 0], [255, 1]]}
    assert (workdir / "data.json").exists()
    assert "nan" not in finished.stdout  # both classes are scored


def test_moved_data_is_found_again(own, run):
    finished, workdir, folder = own
    evaluate = ("evaluate", f"--workdir={workdir}")
    refused(run(*evaluate), "before", "not there")
    scored = run(*evaluate, f"--data_dir={folder}")
    assert scored.stdout.splitlines()[-1] == finished.stdout.splitlines()[-1]  # mIoU
    places = [f"--{place}={folder / place}" for place in ("images", "labels")]
    again = run(*evaluate, *places, f"--classes={folder / 'classes.json'}")
    assert again.stdout == scored.stdout
    resumed = train(run, workdir, f"--data_dir={folder}", "--epochs=2", "--pictures=0")
    assert resumed.returncode == 0, resumed.stderr
    assert "resuming" in resumed.stderr
    assert run(*evaluate).returncode == 0  # the run knows its new place


def test_changed_data_is_scored_with_a_warning(own, run):
    _, workdir, folder = own
    label = folder / "labels/val/4.png"
    kept = label.read_bytes()
    write(label, truth(5, SIZE) * np.uint8(255))
    scored = run("evaluate", f"--workdir={workdir}", f"--data_dir={folder}")
    label.write_bytes(kept)
    assert scored.returncode == 0
    assert f"warning: {workdir} was trained with other data: val has 1 with" in scored.stderr


def test_masks_are_shown_as_in_training(own, run, tmp_path):
    """Also those that do not show by themselves how they are read: all black, of one bit."""
    _, workdir, folder = own
    for name in ("b/c", "d"):
        write(tmp_path / "photos" / f"{name}.jpg", photo(name, SIZE))
    write(tmp_path / "masks/c_mask.png", np.zeros(SIZE, bool))
    write(tmp_path / "masks/d_mask.png", truth(0, SIZE) * np.uint8(255))
    command = ("predict", f"--workdir={workdir}", f"--output={tmp_path / 'out'}")
    given = [f"--images={tmp_path / 'photos'}", f"--labels={tmp_path / 'masks'}"]
    finished = run(*command, *given, f"--classes={folder / 'classes.json'}")
    assert finished.returncode == 0, finished.stderr
    assert (tmp_path / "out/b/c_panels.png").exists()
    assert (tmp_path / "out/d_panels.png").exists()
    everything = run(*command, f"--data_dir={folder}")
    assert "6 of 6 images segmented" in everything.stdout, everything.stderr
    assert len(list((tmp_path / "out").rglob("*_panels.png"))) == 8


def test_other_data_is_refused_before_anything_is_written(own, run):
    _, workdir, folder = own
    before = (workdir / "run.json").read_bytes()
    label = folder / "labels/train/0.png"
    kept = label.read_bytes()
    write(label, truth(5, SIZE) * np.uint8(255))
    finished = train(run, workdir, f"--data_dir={folder}", "--epochs=3")
    refused(finished, "other data", "train has 1 with another label (0)")
    table = json.dumps({"names": ["background", "object"], "void": 255})
    label.write_bytes(kept)
    (folder / "classes.json").write_text(table)
    finished = train(run, workdir, f"--data_dir={folder}", "--epochs=3")
    refused(finished, "255 is read as void and class object has no pixel")
    assert (workdir / "run.json").read_bytes() == before
