"""A run as one small record: what is compared, and what is kept of it in results/runs.

A record knows which preset its run is, and what was changed, by the run's config and settings,
not by its folder's name.
"""

import dataclasses
import hashlib
import json
import logging
import re
from collections.abc import Iterable
from pathlib import Path

from experiments.presets import PRESETS
from reseg_jax.errors import UserError
from reseg_jax.files import atomic, config_json
from reseg_jax.training.workdir import About, about, describe, to_dict

_log = logging.getLogger("reseg_jax.results")

# Fields that make no other network or training: the seed, how long it was run, where data lies
# and how it is kept, how sweeps are computed, and what follows from dataset and VGG weights.
_FREE = {"seed", "epochs", "patience", "patience_from", "min_epochs", "keep"}
_FREE |= {"data_dir", "cache_features", "cache_dtype"}
_FREE |= {"execution.unroll", "execution.remat", "execution.implementation"}
_FREE |= {"num_classes", "preprocessing"}

# Characters of a row in a file's name; what is longer is cut, and told apart by a digest. File
# systems take names of 255 bytes, encrypting ones 143, of which writing safely needs some too.
_LONGEST = 100


@dataclasses.dataclass(frozen=True)
class Record:
    """A run.

    preset:     the name that it goes by; it is `presets` + `changes` whatever this says.
    provenance: as `reseg_jax.provenance.describe` has it; parts may be missing.
    history:    one dict per epoch: epoch, step, train_loss, of the validation miou,
      global_accuracy and mean_class_accuracy (shares), and minutes since the start.
    scores:     what `experiments.evaluate --json` wrote into the run's folder.
    """

    preset: str
    run: About
    provenance: dict
    history: list[dict]
    scores: list[dict]

    @property
    def changes(self) -> tuple[str, ...]:
        """What differs from the preset, as the texts that --set takes."""
        return _changes(self.preset, self.run)

    @property
    def row(self) -> str:
        """The preset and its changes, as a heading; equal but for the seed in runs of one row."""
        return ", ".join((self.preset, *self.changes))

    @property
    def filename(self) -> str:
        """Of its file in results/runs."""
        row = re.sub(r"[^\w.]+", "-", self.row).strip("-")
        if len(row) > _LONGEST:
            digest = hashlib.sha256(self.row.encode()).hexdigest()[:8]
            row = f"{row[:_LONGEST].rstrip('-')}-{digest}"
        return f"{row}-seed{self.run.settings.seed}.json"

    @property
    def best(self) -> dict:
        """The epoch with the highest validation mIoU."""
        return max(self.history, key=lambda epoch: epoch["miou"] or 0.0)


def _changes(preset, run):
    """What --set would make of the preset's network and settings to have the run's."""
    free = _FREE if run.settings.schedule == "constant" else _FREE - {"epochs"}
    named = PRESETS[preset]
    changes = []
    for ours, theirs in ((run.config, named.config), (run.settings, named.settings)):
        values = config_json.flat(ours)
        changes += [
            f"{name}={values[name] if isinstance(values[name], str) else json.dumps(values[name])}"
            for name in values
            if name in config_json.differences(ours, theirs) and name not in free
        ]
    return tuple(changes)


def _preset(name, run):
    """The preset that a run is; else the one it was named, with changes; else the nearest."""

    def distance(preset):
        changes = _changes(preset, run)
        return bool(changes), preset != name, len(changes)

    network = type(run.config)
    return min((name for name in PRESETS if type(PRESETS[name].config) is network), key=distance)


def read_run(workdir: Path) -> Record | None:
    """The record of the run in `workdir`; None if no epoch is finished."""
    run = describe(workdir)
    record = json.loads(atomic.read_file(workdir / "run.json"))
    lines, minutes = _lines(workdir / "metrics.jsonl"), _minutes(workdir)
    history = [
        {
            "epoch": line["epoch"],
            "step": line["step"],
            "train_loss": float(f"{line['train_loss']:.6g}"),
            **{
                name: line["val"][name] and round(line["val"][name], 6)
                for name in ("miou", "global_accuracy", "mean_class_accuracy")
            },
            "minutes": minutes.get(line["epoch"]),
        }
        for line in lines
    ]
    if not history:
        return None
    settings = dataclasses.replace(
        run.settings,
        data_dir=None,
        data_options=tuple(_public(run.settings.data_options)),
        start_from=run.settings.start_from and Path(run.settings.start_from).name,
    )
    run = run._replace(settings=settings)
    return Record(
        _preset(record.get("preset"), run),
        run,
        record.get("provenance", {"versions": record.get("versions", {})}),
        history,
        [scores for path in sorted(workdir.glob("*.json")) for scores in _scores(path)],
    )


def _public(options):
    """Without those that say where files lie."""
    return [option for option in options if not Path(option.partition("=")[2]).is_absolute()]


def _lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _minutes(workdir):
    """{epoch: minutes of training and validation up to its end}; of an epoch run twice, the last.

    An epoch that was stopped and resumed counts from where it was resumed.
    """
    seconds = {
        line["epoch"]: line["train_seconds"] + line["val_and_save_seconds"]
        for line in _lines(workdir / "times.jsonl")
    }
    return {
        epoch: round(sum(seconds.get(past, 0) for past in range(1, epoch + 1)) / 60, 2)
        for epoch in seconds
    }


def _scores(path):
    """What `experiments.evaluate` wrote, without what the record says already."""
    scores = json.loads(atomic.read_file(path))
    if "scored" in scores:
        known = ("workdir", "workdirs", "config")  # "workdir": before several could be averaged
        kept = {k: v for k, v in scores["scored"].items() if k not in known}
        if "data_options" in kept:
            kept["data_options"] = _public(kept["data_options"])
        yield scores | {"scored": kept}


def find_runs(folders: Iterable[Path]) -> list[Record]:
    """The records of all runs in or below folders; a damaged one is reported and left out."""
    found = []
    for path in (path for folder in folders for path in sorted(folder.rglob("run.json"))):
        try:
            record = read_run(path.parent)
        except (UserError, ValueError, KeyError, TypeError) as error:
            _log.warning("warning: %s left out: %s", path.parent, error)
            continue
        found += [record] if record else []
    return found


def write(record: Record, folder: Path) -> Path:
    """Keep a record as a file in `folder`; returns its path."""
    parts = {name: getattr(record, name) for name in ("preset", "provenance", "history", "scores")}
    parts |= to_dict(record.run)
    # A line per epoch: a file that can be read, and whose changes can be.
    texts = {name: json.dumps(value) for name, value in parts.items()}
    texts["history"] = "[\n" + ",\n".join(map(json.dumps, record.history)) + "\n]"
    text = ",\n".join(f'"{name}": {text}' for name, text in texts.items())
    path = folder / record.filename
    atomic.write_file(path, f"{{\n{text}\n}}\n".encode())
    return path


def read(folder: Path) -> list[Record]:
    """The records that are kept in `folder`; a UserError if one is damaged."""
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            parts = json.loads(atomic.read_file(path))
            run = about(parts)
            names = ("provenance", "history", "scores")
            kept = {name: parts[name] for name in names}
            found.append(Record(_preset(parts["preset"], run), run, **kept))
        except (UserError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path} is damaged ({error}): restore it, or remove it") from error
    return found


def merge(records: Iterable[Record]) -> dict[str, list[Record]]:
    """{row: its records, one per seed}; of two of one row and seed the longer, else the first.

    Two runs of one row and seed that went different ways are logged: one of them is not reported.
    """
    kept = {}
    for record in records:
        other = kept.setdefault(record.filename, record)
        long, short = (record, other) if _length(record) > _length(other) else (other, record)
        if long.history[: len(short.history)] != short.history:
            _log.warning("warning: two runs are %s, the longer one is reported", record.filename)
        kept[record.filename] = long
    rows = {}
    for record in sorted(kept.values(), key=lambda record: record.run.settings.seed):
        rows.setdefault(record.row, []).append(record)
    return rows


def _length(record):
    return len(record.history), len(record.scores)
