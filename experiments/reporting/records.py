"""A run as one small record: what is compared, and what is kept of it in results/runs.

Which preset a run is, and what was changed, is read off its config and settings, not its folder's
name.
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
from reseg_jax.training import epoch_logs
from reseg_jax.training.history import saved_history
from reseg_jax.training.workdir import About, about, describe, to_dict

_log = logging.getLogger("reseg_jax.results")

# Fields that do not make another network or training: the seed, how long it was run, where data
# lies and how it is kept, how sweeps are computed, and what follows from dataset and weights.
_FREE = {"seed", "epochs", "patience", "patience_from", "min_epochs", "keep"}
_FREE |= {"data_dir", "cache_features", "cache_dtype"}
_FREE |= {"execution.unroll", "execution.remat", "execution.implementation"}
_FREE |= {"num_classes", "preprocessing"}

# Characters of a row in a file's name; longer ones are cut and get a digest. File systems take
# names of 255 bytes (NAME_MAX), eCryptfs 143, of which safe writing needs some as well.
_LONGEST = 100


@dataclasses.dataclass(frozen=True)
class Record:
    """What is reported of a run.

    Attributes:
      preset: the nearest preset.
      run: network, settings and classes.
      provenance: as `reseg_jax.training.provenance.describe` gives it; parts may be missing.
      history: one dict per epoch: epoch, step, train_loss, the validation's miou, global_accuracy
        and mean_class_accuracy (shares), and minutes since the start or None.
      scores: what `experiments.evaluate --json` wrote into the run's folder.
    """

    preset: str
    run: About
    provenance: dict
    history: list[dict]
    scores: list[dict]

    @property
    def changes(self) -> tuple[str, ...]:
        """What differs from the preset, as texts that --set takes."""
        return _changes(self.preset, self.run)

    @property
    def row(self) -> str:
        """The preset and its changes, as a heading; runs of one row differ only in the seed."""
        return ", ".join((self.preset, *self.changes))

    @property
    def filename(self) -> str:
        """The name of its file in results/runs."""
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
    """The --set texts that make the run's network and settings of the preset's."""
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
    """The preset that a run equals; else the nearest, or of equally near ones the one named."""

    def distance(preset):
        changes = _changes(preset, run)
        return bool(changes), preset != name, len(changes)

    network = type(run.config)
    return min((name for name in PRESETS if type(PRESETS[name].config) is network), key=distance)


def read_run(workdir: Path) -> Record | None:
    """The record of the run in a workdir.

    Args:
      workdir: the folder.

    Returns:
      The record, without the paths of this machine; None if no epoch is finished.

    Raises:
      UserError: there is no run, or its run.json is damaged.
    """
    run = describe(workdir)
    record = json.loads(atomic.read_file(workdir / "run.json"))
    lines, minutes = _history(workdir), _minutes(workdir)
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
    """Without those that are paths."""
    return [option for option in options if not Path(option.partition("=")[2]).is_absolute()]


def _history(workdir):
    """The lines of metrics.jsonl; if a checkpoint says otherwise, what that says."""
    path = workdir / epoch_logs.METRICS
    text, saved = path.read_bytes() if path.exists() else b"", saved_history(workdir)
    try:
        lines = [json.loads(line) for line in text.splitlines()]
    except ValueError:
        if saved is None:
            raise
        lines = None
    if saved is None or lines == saved:
        return lines
    # A training at work has saved its newest epoch before it writes the line of it.
    if lines != saved[:-1]:
        _log.warning("warning: %s is damaged: read from the newest checkpoint", path)
    return saved


def _minutes(workdir):
    """{epoch: minutes of training and validation up to its end}.

    An epoch that was run twice counts once, as it was run last; one that was stopped and resumed
    counts from where it was resumed.
    """
    seconds = {
        line["epoch"]: line["train_seconds"] + line["val_and_save_seconds"]
        for line in epoch_logs.read(workdir / epoch_logs.TIMES)
        if {"epoch", "train_seconds", "val_and_save_seconds"} <= set(line)
    }
    return {
        epoch: round(sum(seconds.get(past, 0) for past in range(1, epoch + 1)) / 60, 2)
        for epoch in seconds
    }


def _scores(path):
    """What `experiments.evaluate` wrote, without what the record says already."""
    scores = json.loads(atomic.read_file(path))
    if "scored" in scores:
        # "workdir": before several could be averaged
        known = ("workdir", "workdirs", "config", "members")
        kept = {k: v for k, v in scores["scored"].items() if k not in known}
        if "data_options" in kept:
            kept["data_options"] = _public(kept["data_options"])
        yield scores | {"scored": kept}


def find_runs(folders: Iterable[Path]) -> list[Record]:
    """The records of all runs in or below `folders`; a damaged one is logged and left out."""
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
    """Keep a record.

    Args:
      record: of a run.
      folder: to write it into, as `record.filename`.

    Returns:
      The file's path.
    """
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
    """The records that are kept in `folder`, those of older versions too.

    Raises:
      UserError: one is damaged.
    """
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
    """Runs by row.

    Args:
      records: in any order.

    Returns:
      {row: its records by seed}. Of two records of one row and seed it has the longer, else the
      first; if one is not the beginning of the other, a warning is logged.
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
