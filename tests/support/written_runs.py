"""Runs' folders and scores as commands leave them, written by hand."""

import dataclasses
import json

from data.camvid import CLASSES
from experiments.presets import PRESETS, build
from experiments.reporting import records
from reseg_jax.training.workdir import About, to_dict

PROVENANCE = {
    "versions": {"python": "3.11.7", "jax": "0.10.2", "flax": "0.12.8"},
    "processor": "A Processor",
    "cores": 2,
    "devices": ["cpu", "cpu"],
    "commit": "0123456789abcdef0123456789abcdef01234567-dirty",
}


def write_run(workdir, preset="camvid", mious=(0.4, 0.7, 0.6), sets=(), about=None, **changes):
    """A finished run of `preset`: an epoch of 90 + 30 seconds for each of `mious`."""
    config, settings = build(PRESETS[preset], {"data_dir": "/data", **changes}, sets)
    config = dataclasses.replace(config, preprocessing="torchvision")
    run = {"preset": preset, **to_dict(About(config, settings, CLASSES)), "provenance": PROVENANCE}
    workdir.mkdir(parents=True)
    (workdir / "run.json").write_text(json.dumps(run | (about or {})))
    metrics, times = [], []
    for epoch, miou in enumerate(mious, start=1):
        val = {"miou": miou, "global_accuracy": 0.9, "mean_class_accuracy": 0.8, "pixels": 7}
        metrics.append({"epoch": epoch, "step": 10 * epoch, "train_loss": 1 / epoch, "val": val})
        times.append({"epoch": epoch, "train_seconds": 90.0, "val_and_save_seconds": 30.0})
    for name, lines in (("metrics.jsonl", metrics), ("times.jsonl", times)):
        (workdir / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    return workdir


def write_scores(workdir, miou, name="scores_test.json", **scored):
    """What `experiments.evaluate --json` writes, with CamVid's classes."""
    about = {"dataset": "camvid", "split": "test", "images": 233, "workdirs": [str(workdir)]}
    about |= {"checkpoint": "best", "step": 20, "average": 1, "steps": [20], "flip": False}
    about |= {"scales": [1.0], "samples": 0, "config": {}} | scored
    accuracy = {name: index / 100 for index, name in enumerate(CLASSES.names)}
    summary = {"miou": miou, "miou_void_counted": miou - 0.01, "global_accuracy": 0.887}
    summary |= {"mean_class_accuracy": 0.68, "accuracy": accuracy, "scored": about}
    (workdir / name).write_text(json.dumps(summary))


def found(*folders):
    """{row: its records} of the runs below folders."""
    return records.merge(records.find_runs(folders))
