"""Changed and hostile files: every reader, with few seeds; `experiments.campaign` has thousands."""

import pytest

from experiments.faults import hostile, readers
from experiments.faults.reader import read_right_files, trial
from experiments.faults.trials import FAILURES, RIGHT, judge

SEEDS = 12
OF_FILES = (
    *("PNG", "JPEG", "TIFF", "BMP", "PPM", "WEBP", "GIF", "gray/palette label", "color label"),
    *("classes.json", "class_dict.csv", "labelmap.txt", "weights .npz", "weights .pth"),
    *(
        "weights .pt",
        "weights .safetensors",
        "weights .h5",
        "ResNet .pth",
        "ResNet .safetensors",
        "saved network",
        "tar archive",
        "zip archive",
        "MATLAB file",
    ),
)
OF_RUNS = (
    *("manifest", "run.json", "run.json without checksum", "checkpoint's record", "metrics.jsonl"),
    "features",
)


@pytest.fixture(scope="module")
def of_files(files):
    return {reader.name: reader for reader in readers.of_files(files)}


def endure(reader, scratch):
    """Changed files are judged; the right ones are read."""
    for index in range(SEEDS):
        changed = trial(reader, str(index), scratch)
        verdict = judge(changed)
        assert verdict.outcome not in FAILURES, (changed.what, verdict)
    read_right_files([reader], scratch)


@pytest.mark.parametrize("name", OF_FILES)
def test_changed_files(of_files, name, tmp_path):
    endure(of_files[name], tmp_path)


def test_every_reader_is_here(of_files):
    assert set(of_files) == set(OF_FILES)


@pytest.mark.slow
def test_changed_files_of_runs(trained, tmp_path):
    found = readers.of_runs(trained)
    assert [reader.name for reader in found] == list(OF_RUNS)
    for number, reader in enumerate(found):
        scratch = tmp_path / str(number)
        scratch.mkdir()
        endure(reader, scratch)


HARMLESS = {"an absolute name", "three gigabytes of zeros after the end"}
"""Archives of which only what is good is taken."""

_SLOW = {"200,000 members", "zeros in an npz", "zeros in torch's archive", "zeros in a zip"}
_TRIALS = [(group, name) for group, builds in hostile.GROUPS.items() for name in builds]


@pytest.mark.parametrize(
    ("group", "name"),
    [pytest.param(*each, marks=pytest.mark.slow if each[1] in _SLOW else ()) for each in _TRIALS],
)
def test_hostile_files(group, name, tmp_path):
    (trial,) = (
        trial
        for trial in hostile.trials(tmp_path)
        if (trial.kind, trial.what) == (f"hostile: {group}", name)
    )
    verdict = judge(trial)
    assert verdict.outcome not in FAILURES, verdict
    assert (verdict.outcome == RIGHT) == (name in HARMLESS), verdict
