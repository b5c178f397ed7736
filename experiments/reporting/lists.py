"""Our presets, scores and runs, as Markdown.

`rows` is {row: its records, one per seed}, as `records.merge` gives it.
"""

import statistics
from collections.abc import Iterable

from experiments.presets import PRESETS
from experiments.reporting.markdown import (
    commit,
    hardware,
    minutes,
    networks_and_views,
    spread,
    table,
    versions,
)
from experiments.reporting.records import Record
from reseg_jax.training import provenance

_TEST = ("miou", "miou_void_counted", "global_accuracy")
_HEAD = ("validation mIoU, best", "last", "test mIoU", "void counted", "global accuracy")
_HEAD += ("n", "epochs", "minutes")


def alike(records: Iterable[Record]) -> dict[tuple[str, str, str], list[dict]]:
    """Scores that were measured in the same way.

    Args:
      records: of one row.

    Returns:
      {(split, number of images, networks and views): scores, one per record}. A split is named
      with its data options if they differ from the training's.
    """
    found = {}
    for record in records:
        own, trained = {}, list(record.run.settings.data_options)
        for scores in record.scores:
            about = scores["scored"]
            split, options = about["split"], about.get("data_options", trained)
            if options != trained:
                split += f" ({', '.join(options) or 'no options'})"
            own[split, str(about["images"]), networks_and_views(about)] = scores
        for key, scores in own.items():
            found.setdefault(key, []).append(scores)
    return found


def test_scores(records: Iterable[Record]) -> list[dict]:
    """The score of each record's best checkpoint on the test split, with nothing averaged."""
    return [
        scores
        for (split, _, scored), found in alike(records).items()
        if (split, scored) == ("test", "best")
        for scores in found
    ]


def presets(rows: dict[str, list[Record]]) -> str:
    """Every preset, run or not: what it is and what it scored."""
    lines = []
    for name, preset in PRESETS.items():
        cells = _cells(rows[name]) if name in rows else ("not run", *[""] * (len(_HEAD) - 1))
        lines.append((name, preset.source, *cells))
    return table(("Preset", "What", *_HEAD), lines)


def variants(rows: dict[str, list[Record]]) -> str:
    """Presets with fields changed, and what the change gave on validation; "" without any."""
    lines = []
    for row, records in sorted(rows.items()):
        if not records[0].changes:
            continue
        base, gain = _base(records[0], rows), ""
        if base:
            gained = statistics.mean(_best(records)) - statistics.mean(_best(rows[base]))
            gain = f"{100 * gained:+.2f} ({base})"
        lines.append((row, *_cells(records), gain))
    head = ("Preset and changes", *_HEAD, "best validation mIoU, against")
    return table(head, lines) if lines else ""


def _base(record, rows):
    """The row that a change is measured against: of the same preset, with most of its changes.

    It is of the same images; of several with equally many changes it is the first by name.
    """
    fewer = {
        row: changes
        for row, (other, *_) in rows.items()
        if other.preset == record.preset
        and other.run.settings.data_options == record.run.settings.data_options
        and (changes := set(other.changes)) < set(record.changes)
    }
    return max(sorted(fewer), key=lambda row: len(fewer[row]), default=None)


def _cells(records):
    found = test_scores(records)
    test = [spread([scores[name] for scores in found], 2) for name in _TEST]
    return (
        spread(_best(records), 2),
        spread(_last(records), 2),
        *(test if found else ("not scored", "", "")),
        str(len(records)),
        ", ".join(str(len(record.history)) for record in records),
        ", ".join(map(minutes, records)),
    )


def _best(records):
    return [record.best["miou"] or 0.0 for record in records]


def _last(records):
    return [record.history[-1]["miou"] for record in records]


def every_score(rows: dict[str, list[Record]]) -> str:
    """Every score: splits, checkpoints, and what was averaged; "" without any."""
    lines = []
    for row, records in sorted(rows.items()):
        for key, found in sorted(alike(records).items()):
            cells = [spread([scores[name] for scores in found], 2) for name in _TEST]
            lines.append((row, *key, *cells, str(len(found))))
    head = ("Run", "split", "images", "checkpoint", "mIoU", "void counted", "global accuracy", "n")
    return table(head, lines) if lines else ""


def runs(rows: dict[str, list[Record]]) -> str:
    """Every run: how it went on validation, and what it ran on; "" without any."""
    lines = []
    for row, records in sorted(rows.items()):
        for record in records:
            best, starts = record.best, provenance.starts(record.provenance)
            lines.append(
                (
                    row,
                    str(record.run.settings.seed),
                    f"{spread([best['miou']], 2)} ({best['epoch']})",
                    f"{spread(_last([record]), 2)} ({len(record.history)})",
                    minutes(record),
                    _distinct(hardware, starts),
                    _distinct(versions, starts),
                    record.run.config.preprocessing,
                    _distinct(commit, starts),
                )
            )
    head = ("Run", "seed", "best validation mIoU (epoch)", "last (epoch)", "minutes")
    head += ("hardware", "versions", "pixels", "commit")
    return table(head, lines) if lines else ""


def _distinct(described, starts):
    """What a run's starts were made with or on, each once: a resumed one may have moved."""
    return "; ".join(dict.fromkeys(map(described, starts)))
