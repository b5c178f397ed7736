"""Scores that the maintainers measured on test images which the repository does not have.

They stand in tables of their own: nothing here chose a checkpoint, unlike validation scores.
"""

import json
from pathlib import Path

from experiments.reporting.markdown import table, views
from reseg_jax.files import atomic
from reseg_jax.metrics import percent

TITLE = "Test split, measured by the maintainers"
TEST_SCORES = Path(__file__).parents[2] / "results" / "test_scores.json"

_SCORES = {
    "miou": "mIoU",
    "miou_void_counted": "void counted",
    "mean_class_accuracy": "mean class accuracy",
    "global_accuracy": "global accuracy",
    "foreground_iou": "foreground IoU",
}


def read(path: Path = TEST_SCORES) -> dict:
    """What results/test_scores.json says.

    Returns:
      {"source": where the scores come from, "entries": [one per network and way of scoring]}. An
      entry has network, preset, seed, epochs, dataset, split, images, views (the fields of
      `reseg_jax.inference.ensemble.Views`, or None if not stated), digits (of the percentages as
      they were reported) and scores: shares, as `reseg_jax.metrics` names them, those in "iou" by
      class.
    """
    return json.loads(atomic.read_file(path))


def section(measured: dict) -> str:
    """The tables of what `read` gives: all scores, then the IoU per class."""
    about = ("Network", "preset", "seed", "epochs", "dataset", "split", "images", "views")
    lines, per_class = [], []
    for entry in measured["entries"]:
        scores, digits = entry["scores"], entry["digits"]
        cells = [_text(entry.get(name.lower())) for name in about[:-1]]
        lines.append(
            (*cells, _views(entry), *(percent(scores.get(name), digits) for name in _SCORES))
        )
        if "iou" in scores:
            names = ("network", *scores["iou"])
            ious = [percent(share, digits) for share in scores["iou"].values()]
            per_class.append(table(names, [(f"{entry['network']}, {_views(entry)}", *ious)]))
    whole = table((*about, *_SCORES.values()), lines)
    blocks = [f"{measured['source']}.", whole]
    blocks += ["IoU per class:", *per_class] if per_class else []
    return "\n\n".join(blocks)


def _views(entry):
    if entry["views"] is None:
        return "-"
    return " and ".join(["the image", *views(entry["views"])])


def _text(value):
    return "-" if value is None else str(value)
