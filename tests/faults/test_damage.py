"""Files of datasets, runs and caches, damaged; what commands make of them.

Chains of stops, and disks that are full, are in the short campaign that CI runs.
"""

import random
import signal

import pytest

from experiments.faults import damage, kills
from experiments.faults.trials import FAILURES, SAID, SILENT, Trial, judge

COUNT = 3


@pytest.fixture(scope="module")
def subjects(trained):
    return damage.Subjects(trained)


@pytest.mark.slow
def test_damaged_files(subjects, as_commands):
    subjects.prepare()
    for subject in subjects.all:
        for index in range(COUNT):
            trial = subjects.trial(subject, str(index))
            verdict = judge(trial)
            assert verdict.outcome not in FAILURES, (trial, verdict)


@pytest.mark.parametrize("how", sorted({*damage.HOWS} - {damage.UNREADABLE}))
def test_every_damage_changes_a_file(tmp_path, how):
    path = tmp_path / "file"
    path.write_bytes(bytes(range(1, 200)))
    damage.damage(random.Random(0), path, how)
    assert not path.exists() or path.read_bytes() != bytes(range(1, 200))


def test_datasets_whose_masks_are_damaged_say_so(files, tmp_path):
    """And that the campaign would notice if they did not."""
    (camvid,) = (each for each in damage.Subjects(files).all if each.name == "CamVid")
    right = camvid.act(files.camvid)
    with damage.copied(files.camvid, tmp_path) as copy:
        label = copy / "CamVid" / "trainannot" / "frame0.png"
        label.write_bytes((label.parent / "frame1.png").read_bytes())  # whole, and another one
        other = camvid.act(copy)
        assert judge(Trial("", "", lambda: other == right)).outcome == SILENT
        label.write_bytes(label.read_bytes()[:80])
        assert judge(Trial("", "", lambda: camvid.act(copy) == right)).outcome == SAID


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["within a save", "within a write"])
def test_a_training_that_is_killed_goes_on(trained, command, moment):
    (kind, _) = kills.kinds(trained)
    folders = [trained.root / moment, trained.root / "no_features"]
    flags = kind.flags(*folders)
    _, verdict = kills.stop(command, flags, folders, signal.SIGKILL, moment, random.Random(0))
    assert verdict.outcome == SAID
    assert command(*flags).returncode == 0
    assert damage.fingerprint(folders[0]) == damage.fingerprint(kind.workdir)
