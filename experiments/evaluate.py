"""Score a trained network on a split of the dataset that it was trained on.

  python -m experiments.evaluate --workdir=runs/toy
  python -m experiments.evaluate --workdir=runs/camvid --split=test --json=scores.json
  python -m experiments.evaluate --workdir=runs/camvid --flip --scales=0.75,1,1.25 --average=3

Every image is scored at its own size, and the scores are of all pixels of the split together. Two
classes are also scored image by image, beside what calling everything foreground, or background,
would score. Padding would change what the sweeps see, so each size of image (times each scale) is
compiled for itself: a split of many sizes takes long the first time, less when it is scored again.
"""

import json
from pathlib import Path

import numpy as np
from absl import flags

import data
from experiments import averaging_flags, command
from experiments.baselines import baselines, format_table, two_class
from reseg_jax import files, metrics, plain, runs
from reseg_jax.averaging import Averaging, probabilities
from reseg_jax.labels import likeliest
from reseg_jax.progress import Progress

_SPLIT = flags.DEFINE_enum("split", "val", data.SPLITS, "images to score")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "folder of the dataset [as in training]")
_JSON = flags.DEFINE_string("json", None, "file to write the scores to")
flags.adopt_module_key_flags(averaging_flags)
flags.mark_flag_as_required("workdir")


def main(_):
    averaging, members = averaging_flags.averaging(), averaging_flags.load()
    newest = members[-1]
    dataset = newest.settings.dataset
    data_dir = _DATA_DIR.value or newest.settings.data_dir
    options = data.parse_options(newest.settings.data_options)
    examples = data.load(dataset, _SPLIT.value, data_dir, **options)
    classes = newest.config.classes
    matrices = confusion_matrices(members, examples, averaging)
    summary = metrics.summarize(sum(matrices))
    steps = [run.step for run in members]
    which = f"checkpoint {newest.name} (step {newest.step})"
    if averaging_flags.AVERAGE.value:
        which = f"mean of the checkpoints of steps {', '.join(map(str, steps))}"
    print(f"{len(examples)} images of {dataset} {_SPLIT.value}, ", end="")
    print(f"{which}{averaging_flags.describe(averaging)}")
    print(metrics.format_table(summary, classes))
    if len(classes.names) == 2:
        summary |= two_class(matrices)
        summary["baselines"] = baselines(matrices)
        print(format_table({"network": summary, **summary["baselines"]}))
    print(f"mIoU {percent(summary['miou'])}")
    if _JSON.value:
        for key in ("iou", "accuracy", "iou_void_counted"):
            summary[key] = dict(zip(classes.names, summary[key], strict=True))
        summary["absent"] = [classes.names[index] for index in summary["absent"]]
        summary["scored"] = {
            "dataset": dataset,
            "split": _SPLIT.value,
            "images": len(examples),
            "workdir": str(Path(averaging_flags.WORKDIR.value).resolve()),
            "checkpoint": newest.name,
            "step": newest.step,
            "average": len(members),
            "steps": steps,
            **plain.to_dict(averaging),
            "config": plain.to_dict(newest.config),
        }
        files.write_file(_JSON.value, (json.dumps(summary, indent=2) + "\n").encode())


def confusion_matrices(
    members: list[runs.Run], examples: list[data.Example], averaging: Averaging
) -> list[np.ndarray]:
    """The int64 [K + 1, K + 1] confusion matrix of each image."""
    config, variables = members[-1].config, [run.variables for run in members]
    progress = Progress("scoring", len(examples))
    matrices = []
    for example in examples:
        scores = probabilities(config, variables, example.image, averaging)
        labels = np.asarray(likeliest(scores, config.num_classes))
        matrices.append(metrics.confusion_matrix(example.label, labels, config.num_classes))
        progress.add(1)
    progress.say(f"scored {len(examples)} images, {progress.rate():.2f}/s")
    return matrices


def percent(share: float | None) -> str:
    """A score in per cent, or a dash where there is none."""
    return "-" if share is None else f"{100 * share:.2f}"


if __name__ == "__main__":
    command.run(main)
