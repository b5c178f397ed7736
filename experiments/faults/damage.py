"""Damaged files of a run, of a dataset and of a cache of features, and what the commands then do.

What `evaluate`, `predict` and `train` do with these files is done by the functions that they call:
a run is loaded, and trained on; a dataset is loaded; features are read. `check` is asked too.
"""

import contextlib
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

import data
from experiments import trainer
from experiments.faults import mutations
from experiments.faults.materials import Materials, sha256
from experiments.faults.trials import RIGHT, Trial, judge
from reseg_jax import api
from reseg_jax.errors import UserError
from reseg_jax.training import feature_files, file_states
from reseg_jax.training.checkpoints import Checkpoints
from reseg_jax.training.feature_cache import FeatureCache
from reseg_jax.training.trained import load_run
from reseg_jax.training.workdir import claim, describe, lock

UNREADABLE, ABSENT = "unreadable", "absent"
"""A file that is there and may not be read, and one that is gone."""

HOWS = (*("flip",) * 4, *("cut",) * 2, *("empty", "zeros", UNREADABLE, ABSENT))
"""How files are damaged, the commonest most often."""

_UNSEALED = (".jpg", ".json")
"""Files of people's own datasets in which a changed value is as good as the one before: there is no
checksum in a JPEG or in a table of classes. What may be asked is a result or a sentence."""


def damage(rng: random.Random, path: Path, how: str) -> str:
    """Damage a file.

    Returns:
      What was done, in words.
    """
    if how == UNREADABLE:
        path.chmod(0)
    elif how == ABSENT:
        path.unlink()
    else:
        content = path.read_bytes()
        changed = mutations.DAMAGES[how](rng, content) if content else content
        path.write_bytes(changed)
        if how == "flip":
            places = [i for i, (a, b) in enumerate(zip(content, changed, strict=True)) if a != b]
            return f"{how} in byte {places}"
        return f"{how}, {len(content)} bytes before and {len(changed)} after"
    return how


class Subject(NamedTuple):
    """What is damaged, and what is then done with it.

    Attributes:
      name: of both.
      folder: all its files.
      act: function of a copy of `folder`, which gives what must not change; errors pass through.
      share: of the damages, as a number of trials per round.
    """

    name: str
    folder: Path
    act: Callable[[Path], object]
    share: int


class Subjects:
    """All that is damaged, of a campaign's materials.

    Attributes:
      all: the subjects.
    """

    def __init__(self, files: Materials):
        self.files = files
        self._right = {}
        self.all = (
            Subject("CamVid", files.camvid, _load_camvid, 8),
            Subject("own dataset", files.own, _load_own, 6),
            Subject("features", files.cache, self._read_features, 6),
            Subject("a run that is loaded", files.workdir, _load_run, 6),
            Subject("a run that is trained on", files.workdir, self._train, 4),
            Subject("a run that is checked", files.workdir, self._check, 4),
        )

    def prepare(self) -> None:
        """Find out what is right; the first thing in a process that runs trials."""
        self._examples = [data.load("camvid", split, self.files.camvid) for split in SPLITS]
        self._run = describe(self.files.workdir)
        key = jax.random.key(self._run.settings.seed)
        self._variables = api.init(self._run.config, key)
        cached = load_run(self.files.cached)
        self._cached = cached.config, cached.variables, cached.settings.cache_dtype
        for subject in self.all:
            with copied(subject.folder, self.files.root) as copy:
                self._right[subject.name] = subject.act(copy)

    def trial(self, subject: Subject, seed: str) -> Trial:
        """One file of a subject is damaged; `seed` is what is drawn from."""
        rng = random.Random(f"{subject.name}/{seed}")
        files = sorted(path for path in subject.folder.rglob("*") if path.is_file())
        path, how = rng.choice(files).relative_to(subject.folder), rng.choice(HOWS)

        def run():
            with copied(subject.folder, self.files.root) as copy:
                damage(rng, copy / path, how)
                found = subject.act(copy)
            free = subject.name == "own dataset" and path.suffix in _UNSEALED and how != ABSENT
            return free or found == self._right[subject.name]

        what = f"{how}: {path}, seed {subject.name}/{seed}"
        return Trial(f"damage: {subject.name}", what, run)

    def _train(self, workdir):
        """What a run ends with that is started again."""
        with lock(workdir):
            claim(workdir, self._run)
            cache = self.files.root / "none"
            trainer.train(workdir, self._run, self._variables, *self._examples, cache)
        return fingerprint(workdir)

    def _check(self, workdir):
        """What is not well is an error; if all is, loading and training must go well, too."""
        _refuse(file_states.of_workdir(workdir))
        for act in (_load_run, self._train):
            verdict = judge(Trial("", "", lambda act=act: act(workdir) is not None))
            if verdict.outcome != RIGHT:
                raise AssertionError(f"check says that all is well, but: {verdict.words}")
        return fingerprint(workdir)

    def _read_features(self, folder):
        """Features as training reads them, computed again if they are damaged; `check` says so."""
        notices = any(not state.is_well for state in file_states.of_features(folder))
        config, variables, dtype = self._cached
        cache = FeatureCache(config, variables, folder, dtype)
        images = [example.image for examples in self._examples for example in examples]
        damaged = [
            path for image in images for path in cache.paths(image).values() if _is_bad(path)
        ]
        if damaged and not notices:
            raise AssertionError(f"check says that all is well, but {damaged[0]} is not")
        return [sha256(map_.tobytes()) for image in images for map_ in cache.read(image).values()]


SPLITS = ("train", "val")


@contextlib.contextmanager
def copied(folder: Path, scratch: Path) -> Iterator[Path]:
    """A copy of a folder, in `scratch` while the block runs."""
    with tempfile.TemporaryDirectory(dir=scratch) as temporary:
        yield shutil.copytree(folder, Path(temporary, "copy"))


def _is_bad(path):
    return feature_files.problem(path) not in (None, feature_files.MISSING)


def _refuse(states):
    bad = [state for state in states if not state.is_well]
    if bad:
        raise UserError(f"{len(bad)} are not as they should be, {bad[0].path} {bad[0].state} first")


def _load_camvid(folder):
    return _contents("camvid", folder)


def _load_own(folder):
    return _contents("folder", folder)


def _contents(name, folder):
    """What a dataset says: names, pixels, labels and classes."""
    examples = [each for split in SPLITS for each in data.load(name, split, str(folder))]
    classes = data.classes(name, str(folder))
    arrays = [sha256(array.tobytes()) for each in examples for array in (each.image, each.label)]
    return [each.name for each in examples], arrays, classes


def _load_run(workdir):
    """What `evaluate` and `predict` are given."""
    run = load_run(workdir)
    leaves = [sha256(np.asarray(leaf).tobytes()) for leaf in jax.tree.leaves(run.variables)]
    return run._replace(variables=leaves)


def fingerprint(workdir: Path) -> tuple[dict, bytes]:
    """What a training ends with: digests of its newest checkpoint's arrays, and its metrics."""
    checkpoints = Checkpoints(workdir / "checkpoints")
    record = checkpoints.record(checkpoints.steps()[-1])
    return dict(record.leaves), (workdir / "metrics.jsonl").read_bytes()
