"""The paper's tables with our scores among them, as Markdown.

`rows` is {row: its records, one per seed}, as `records.merge` gives it.
"""

import json
import statistics
from pathlib import Path

from experiments.reporting import field, lists, maintainers
from experiments.reporting.markdown import mean, printed, spread, table
from experiments.reporting.records import Record
from reseg_jax.files import atomic

PUBLISHED = Path(__file__).parents[2] / "results" / "published.json"
_HEADING = """# Results

Written by `python -m experiments.results` from the runs' own files; [README.md](README.md) says
how. Scores are in percent. Ours are those of the checkpoint with the best validation mIoU on the
test split, unless a column says validation, with void pixels left out. n is the number of seeds,
and ± the standard deviation between them (n - 1 in the denominator). "Not scored": there is a run,
but no score of it on the test split."""


def report(rows: dict[str, list[Record]]) -> str:
    """The whole page, results/RESULTS.md.

    Args:
      rows: the runs.
    """
    published = {entry["id"]: entry for entry in json.loads(atomic.read_file(PUBLISHED))["tables"]}
    blocks = [_HEADING]
    for name, build in (("T1", two_class), ("T2", two_class), ("T3", classes), ("T4", classes)):
        blocks += _titled(published[name], build(published[name], rows))
    costs = field.read() if field.COSTS.exists() else {}
    blocks += _titled(published["field"], field.section(published["field"], rows, costs))
    sections = {
        maintainers.TITLE: maintainers.section(maintainers.read()),
        "Presets": lists.presets(rows),
        "Presets with changes": lists.variants(rows),
        "Every score": lists.every_score(rows),
        "Runs": lists.runs(rows),
    }
    for title, text in sections.items():
        blocks += [f"## {title}", text] if text else []
    blocks += _titled(published["camvid"], ladder(published["camvid"], rows))
    return "\n\n".join(blocks) + "\n"


def two_class(published: dict, rows: dict[str, list[Record]]) -> str:
    """Table 1 or 2: the printed figures and, since they mix readings, each reading of our scores.

    Args:
      published: the entry of the table in results/published.json.
      rows: the runs.
    """
    readings = ("global_accuracy", "foreground_iou", "miou")
    readings += ("accuracy_per_image", "foreground_iou_per_image", "miou_per_image")
    head = ("Method", "printed accuracy", "printed IoU", "our accuracy", "foreground IoU")
    head += ("two-class mean IoU", "accuracy, per image", "foreground IoU, per image")
    head += ("two-class mean IoU, per image", "n")
    lines = []
    for row in published["rows"]:
        records = rows.get(row.get("preset"), [])
        found = lists.test_scores(records)
        if "baseline" in row:
            found = _baseline(published["dataset"], row["baseline"], rows)
        ours = [spread([scores[reading] for scores in found], 1) for reading in readings]
        if not found:
            ours = [_state(records), *[""] * (len(readings) - 1)]
        figures = (printed(row["accuracy"]), printed(row["iou"]))
        lines.append((row["method"], *figures, *ours, _count(found)))
    return table(head, lines) + _notes(published)


def _baseline(dataset, name, rows):
    """A baseline depends on the images only: that of any run on the dataset as it is."""
    for records in rows.values():
        settings = records[0].run.settings
        if settings.dataset == dataset and not settings.data_options:
            for scores in lists.test_scores(records):
                if "baselines" in scores:
                    return [scores["baselines"][name]]
    return []


def classes(published: dict, rows: dict[str, list[Record]]) -> str:
    """Table 3 or 4: class accuracies; ours stand below the published row of the same preset.

    Args:
      published: the entry of the table in results/published.json.
      rows: the runs.
    """
    columns = published["columns"]
    head = ("Method", *columns, "class average", "global", "IoU", "our IoU", "n")
    lines = []
    for row in published["rows"]:
        records = rows.get(row.get("preset"), [])
        found = lists.test_scores(records)
        figures = map(printed, (*row["per_class"], row["class_accuracy"], row["accuracy"]))
        mious = spread([scores["miou"] for scores in found], 1) if found else _state(records)
        lines.append((row["method"], *figures, printed(row["iou"]), mious, _count(found)))
        if found:
            ours = [mean([scores["accuracy"][name] for scores in found], 1) for name in columns]
            for name in ("mean_class_accuracy", "global_accuracy"):
                ours.append(spread([scores[name] for scores in found], 1))
            lines.append((f"**ours**: {row['preset']}", *ours, "", mious, _count(found)))
    return table(head, lines) + _notes(published)


def _state(records):
    return "not scored" if records else "not run"


def _count(found):
    return str(len(found)) if found else ""


def ladder(published: dict, rows: dict[str, list[Record]]) -> str:
    """Published test mIoU with ours among it, lowest first.

    Args:
      published: the entry "camvid" of results/published.json.
      rows: the runs.
    """
    lines = []
    for row in published["rows"]:
        ious = row["iou"] if isinstance(row["iou"], list) else [row["iou"]]
        figures = (printed(row["iou"]), printed(row["accuracy"]))
        rest = (row["size"] or "", row["data"] or "", row["evidence"])
        lines.append((ious[0] or 0.0, (row["method"], *figures, *rest)))
    for name, records in rows.items():
        if records[0].run.settings.dataset != published["dataset"]:
            continue
        for (split, _, scored), found in lists.alike(records).items():
            if split == "test":
                mious = [scores["miou"] for scores in found]
                accuracies = [scores["global_accuracy"] for scores in found]
                # A ResNet begins at random without --backbone_weights, which no run here had.
                backbone = records[0].run.config.backbone
                data = "ImageNet VGG" if backbone and backbone.name == "vgg" else "none"
                cells = (f"**ours**: {name}; {scored}", spread(mious, 2), spread(accuracies, 2))
                cells += ("480x360", data, f"n = {len(found)}")
                lines.append((100 * statistics.mean(mious), cells))
    lines = [cells for _, cells in sorted(lines, key=lambda line: line[0])]
    head = ("Method", "mIoU", "global accuracy", "size", "other data", "evidence")
    return table(head, lines) + _notes(published)


def _titled(published, text):
    return [f"## {published['title']}", text]


def _notes(published):
    """The notes on a table and on its rows."""
    notes = [published["note"]] if "note" in published else []
    notes += [f"{row['method']}: {row['note']}." for row in published["rows"] if "note" in row]
    return "".join(f"\n\n{note}" for note in notes)
