"""Score a trained network on a split of the dataset that it was trained on, or of another.

  python -m experiments.evaluate --workdir=runs/toy
  python -m experiments.evaluate --workdir=runs/camvid --split=test --json=scores.json
  python -m experiments.evaluate --workdir=runs/camvid --flip --scales=0.75,1,1.25 --average=3
  python -m experiments.evaluate --workdir=runs/camvid,runs/fcn8s
  python -m experiments.evaluate --workdir=runs/camvid --logit_adjustment=0.3
  python -m experiments.evaluate --workdir=runs/camvid --crf
  python -m experiments.evaluate --model=camvid --dataset=camvid --split=test
  python -m experiments.evaluate --workdir=runs/neurons --boundary=membrane

Every image is scored at its own size, and the scores are of all pixels of the split together.
Several networks, of any kind, are also scored each by itself. Two classes are also scored image by
image, beside what calling everything foreground, or background, would score. Images of many sizes
are computed at a few larger sizes (`reseg_jax/padding.py`). --boundary scores what a class
separates as well, neurons or cells, segment by segment. With --crf, which refines the probabilities
of all networks together, the scores without it stand beside the others.
"""

import functools
import json
import sys
from collections.abc import Callable
from pathlib import Path

from absl import flags

import data
from data import manifest
from experiments import (
    adjustment_flags,
    cli,
    crf_flags,
    data_flags,
    ensemble_flags,
    part_flags,
    segments,
    side_by_side,
)
from experiments.baselines import baselines, format_table, two_class
from experiments.counting import count
from reseg_jax import metrics, saving
from reseg_jax.errors import UserError
from reseg_jax.files import atomic, config_json
from reseg_jax.labels import Classes

SPLIT = flags.DEFINE_enum("split", "val", data.SPLITS, "images to score")
_DATASET = flags.DEFINE_enum("dataset", None, data.NAMES, "images and labels [of --workdir]")
_DATA_OPTIONS = flags.DEFINE_multi_string(
    "data_options", None, "name=value; empty for none [as in training]"
)
BOUNDARY = flags.DEFINE_string(
    "boundary", None, "class that separates neurons or cells: score these segments, too"
)
JSON = flags.DEFINE_string("json", None, "file to write the scores to")
flags.adopt_module_key_flags(data_flags)
flags.adopt_module_key_flags(ensemble_flags)
flags.adopt_module_key_flags(part_flags)
flags.adopt_module_key_flags(cli)
flags.adopt_module_key_flags(adjustment_flags)
flags.adopt_module_key_flags(crf_flags)


def main(_):
    views, parts, networks = ensemble_flags.views(), part_flags.load(), ensemble_flags.load()
    crf = crf_flags.chosen()
    dataset, texts, classes, load = dataset_of(networks)
    boundary = None
    if BOUNDARY.value is not None:
        boundary = segments.boundary_class(BOUNDARY.value, classes)
    examples = load(SPLIT.value)
    networks, crfs = adjusted(networks, load), [crf] if crf else []
    counted, overlaps = count(networks, examples, views, parts, boundary, crfs)
    summaries = [metrics.summarize(sum(each)) for each in counted]
    matrices, summary = counted[-1], summaries[-1]
    print(f"{len(examples)} images of {dataset} {SPLIT.value}, ", end="")
    power = adjustment_flags.POWER.value
    changes = f", logits adjusted by {power:g}" if power else ""
    changes += ", refined by a dense CRF" if crf else ""
    print(f"{networks.name}{ensemble_flags.describe(views)}{parts.describe()}{changes}")
    print(metrics.format_table(summary, classes))
    titles = list(networks.names)
    if len(titles) > 1:
        titles.append("together")
    if crf:
        titles.append("dense CRF")
    if len(titles) > 1:
        print(side_by_side.format_table(dict(zip(titles, summaries, strict=True))))
    if len(classes.names) == 2:
        summary |= two_class(matrices)
        summary["baselines"] = baselines(matrices)
        print(format_table({"network": summary, **summary["baselines"]}))
    if boundary is not None:
        summary["segments"] = {"boundary": BOUNDARY.value, **segments.summarize(overlaps)}
        print(segments.format_table(summary["segments"], BOUNDARY.value))
    print(f"mIoU {metrics.percent(summary['miou'], 2)}")
    if JSON.value:
        for key in ("iou", "accuracy", "iou_void_counted", "dice"):
            summary[key] = dict(zip(classes.names, summary[key], strict=True))
        summary["absent"] = [classes.names[index] for index in summary["absent"]]
        summary["scored"] = {
            "dataset": dataset,
            "split": SPLIT.value,
            "images": len(examples),
            "data_options": texts,
            **described(networks),
            **config_json.to_dict(views),
            **parts.described(),
            "logit_adjustment": power,
            "crf": config_json.to_dict(crf) if crf else None,
            "config": saving.config_to_dict(networks.config),
        }
        if len(networks.groups) > 1:
            alone = summaries[: len(networks.groups)]
            summary["scored"]["members"] = side_by_side.described(networks, alone)
        if crf:
            summary["without_crf"] = side_by_side.read(summaries[-2])
        atomic.write_file(JSON.value, (json.dumps(summary, indent=2) + "\n").encode())


def dataset_of(
    networks: ensemble_flags.Networks,
) -> tuple[str, list[str], Classes, Callable[[str], list[data.Example]]]:
    """The dataset's name, options, classes and loader of a split: by flags, else as in training."""
    trained = networks.runs[-1].settings if networks.runs else None
    trainings = {
        (run.settings.dataset, data_flags.moved(None, run.settings.data_options)[1])
        for run in networks.runs
    }
    if len(trainings) > 1 and None in (_DATASET.value, _DATA_OPTIONS.value):
        raise UserError(
            "--workdir: the runs differ in --dataset or --data_options: say by both flags which "
            "images are scored, none of which a run should have been trained on"
        )
    if not (_DATASET.value or trained):
        raise UserError("--model does not say what it was trained on: give --dataset")
    ours = trained if trained and _DATASET.value in (None, trained.dataset) else None
    dataset = _DATASET.value or trained.dataset
    texts = _DATA_OPTIONS.value or (ours.data_options if ours else ())
    data_dir, texts = data_flags.moved(
        ours.data_dir if ours else None, [text for text in texts if text]
    )
    options = data.parse_options(texts)
    reading = networks.classes.reading if networks.classes else None
    theirs = data.classes(dataset, data_dir, reading, **options)
    if len(theirs.names) != networks.config.num_classes:
        raise UserError(
            f"--dataset={dataset} has {len(theirs.names)} classes, and the network "
            f"{networks.config.num_classes}: give a dataset of the same classes"
        )
    if networks.classes and theirs.names != networks.classes.names:
        raise UserError(
            f"--dataset={dataset} has the classes {', '.join(theirs.names)}, and the network "
            f"{', '.join(networks.classes.names)}: give a dataset of the same classes"
        )
    if ours:
        say_changes(dataset, data_dir, options)
    load = functools.partial(
        data.load, dataset, data_dir=data_dir, reading=theirs.reading, **options
    )
    return dataset, list(texts), theirs, load


def adjusted(
    networks: ensemble_flags.Networks, load: Callable[[str], list[data.Example]]
) -> ensemble_flags.Networks:
    """The networks after --logit_adjustment, by the classes' shares in training."""
    if not adjustment_flags.POWER.value:
        return networks
    truths = (example.label for example in load("train"))
    adjust = adjustment_flags.adjustment(truths, networks.config.num_classes)
    groups = [[(config, adjust(each)) for config, each in group] for group in networks.groups]
    return networks._replace(groups=groups)


def say_changes(dataset: str, data_dir: str | None, options: dict[str, str]) -> None:
    """Says on stderr if the files to score are others than the runs were validated on."""
    pairs = (data.pairs(dataset, data_dir, **options) or {}).get(SPLIT.value)
    for workdir in (ensemble_flags.WORKDIR.value or ()) if pairs else ():
        if found := manifest.changes(workdir, SPLIT.value, pairs):
            print(f"warning: {workdir} was trained with other data: {found}", file=sys.stderr)


def described(networks: ensemble_flags.Networks) -> dict:
    """Which networks these are, for the JSON."""
    if not networks.runs:
        return {"model": ensemble_flags.MODEL.value}
    newest = networks.runs[-1]
    workdirs = [str(Path(workdir).resolve()) for workdir in ensemble_flags.WORKDIR.value]
    return {
        "workdirs": workdirs,
        "runs": len(workdirs),
        "checkpoint": newest.name,
        "step": newest.step,
        "average": ensemble_flags.AVERAGE.value or 1,
        "steps": [run.step for run in networks.runs],
    }


if __name__ == "__main__":
    cli.run(main)
