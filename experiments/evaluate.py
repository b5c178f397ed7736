"""Score a trained network on a split of the dataset that it was trained on.

  python -m experiments.evaluate --workdir=runs/toy
  python -m experiments.evaluate --workdir=runs/camvid --split=test --json=scores.json

Every image is scored at its own size, and the scores are of all pixels of the split together.
"""

import json
from pathlib import Path

import numpy as np
from absl import flags

import data
from experiments import command
from reseg_jax import files, inference, metrics, plain, runs
from reseg_jax.progress import Progress

_WORKDIR = flags.DEFINE_string("workdir", None, "folder of the run", required=True)
_SPLIT = flags.DEFINE_enum("split", "val", data.SPLITS, "images to score")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "folder of the dataset [as in training]")
_CHECKPOINT = flags.DEFINE_string("checkpoint", "best", "best, latest or a step")
_FLIP = flags.DEFINE_bool("flip", False, "average over each image and its mirror image")
_JSON = flags.DEFINE_string("json", None, "file to write the scores to")


def main(_):
    run = runs.load_run(_WORKDIR.value, _CHECKPOINT.value)
    dataset = run.settings.dataset
    data_dir = _DATA_DIR.value or run.settings.data_dir
    options = data.parse_options(run.settings.data_options)
    examples = data.load(dataset, _SPLIT.value, data_dir, **options)
    classes = run.config.classes
    matrices = confusion_matrices(run, examples)
    summary = metrics.summarize(sum(matrices))
    flipped = ", averaged with mirror images" if _FLIP.value else ""
    print(f"{len(examples)} images of {dataset} {_SPLIT.value}, ", end="")
    print(f"checkpoint {run.name} (step {run.step}){flipped}")
    print(metrics.format_table(summary, classes))
    if len(classes.names) == 2:
        two_class = metrics.foreground_summary(matrices)
        for name, value in two_class.items():
            print(f"{name.replace('_', ' ').replace('iou', 'IoU')} {percent(value)}")
        summary |= two_class
    print(f"mIoU {percent(summary['miou'])}")
    if _JSON.value:
        for key in ("iou", "accuracy", "iou_void_counted"):
            summary[key] = dict(zip(classes.names, summary[key], strict=True))
        summary["absent"] = [classes.names[index] for index in summary["absent"]]
        summary["scored"] = {
            "dataset": dataset,
            "split": _SPLIT.value,
            "images": len(examples),
            "workdir": str(Path(_WORKDIR.value).resolve()),
            "checkpoint": run.name,
            "step": run.step,
            "flip": _FLIP.value,
            "config": plain.to_dict(run.config),
        }
        files.write_file(_JSON.value, (json.dumps(summary, indent=2) + "\n").encode())


def confusion_matrices(run: runs.Run, examples: list[data.Example]) -> list[np.ndarray]:
    """The int64 [K + 1, K + 1] confusion matrix of each image."""
    progress = Progress("scoring", len(examples))
    matrices = []
    for example in examples:
        prediction = inference.predict(run.config, run.variables, example.image, _FLIP.value)
        matrices.append(metrics.confusion_matrix(example.label, prediction, run.config.num_classes))
        progress.add(1)
    progress.say(f"scored {len(examples)} images, {progress.rate():.2f}/s")
    return matrices


def percent(share: float | None) -> str:
    """A score in per cent, or a dash where there is none."""
    return "-" if share is None else f"{100 * share:.2f}"


if __name__ == "__main__":
    command.run(main)
