"""What is kept of a run: its row, its history, its scores, and no path of the machine."""

import json

import numpy as np
import pytest

from data.camvid import CLASSES
from experiments.presets import PRESETS
from experiments.reporting import lists, records
from reseg_jax.errors import UserError
from reseg_jax.training import epoch_logs
from reseg_jax.training.checkpoints import Checkpoints
from tests.support.written_runs import PROVENANCE, found, write_run, write_scores


def test_a_run_is_read(tmp_path):
    workdir = write_run(tmp_path / "run", seed=3)
    write_scores(workdir, 0.6)
    record = records.read_run(workdir)
    assert (record.preset, record.changes, record.filename) == ("camvid", (), "camvid-seed3.json")
    assert [epoch["minutes"] for epoch in record.history] == [2, 4, 6]
    assert (record.best["epoch"], record.best["miou"]) == (2, 0.7)
    assert record.provenance == PROVENANCE
    assert [scores["miou"] for scores in record.scores] == [0.6]


def test_an_epoch_that_was_run_twice_counts_once(tmp_path):
    workdir = write_run(tmp_path / "run")
    again = {"epoch": 3, "train_seconds": 300.0, "val_and_save_seconds": 0.0}
    with open(workdir / "times.jsonl", "a") as file:
        file.write(json.dumps(again) + "\n")
    assert records.read_run(workdir).history[-1]["minutes"] == 2 + 2 + 5


def test_half_a_line_of_times_does_not_lose_the_run(tmp_path):
    """As a kill left it in older versions, which appended."""
    workdir = write_run(tmp_path / "run")
    path = workdir / "times.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    record = records.read_run(workdir)
    assert [epoch["minutes"] for epoch in record.history] == [2, 4, None]


@pytest.mark.parametrize("damage", ["flipped", "cut", "gone"])
def test_metrics_are_what_the_checkpoint_says(tmp_path, damage, caplog):
    workdir = write_run(tmp_path / "run")
    path = workdir / "metrics.jsonl"
    history, sound = epoch_logs.read(path), records.read_run(workdir).history
    Checkpoints(workdir / "checkpoints").save(30, {"a": np.ones(2)}, {"history": history}, 0.6)
    assert records.read_run(workdir).history == sound
    assert not caplog.records
    text = path.read_text()
    path.write_text({"flipped": text.replace("0.7", "0.9"), "cut": text[:-9], "gone": ""}[damage])
    assert records.read_run(workdir).history == sound
    assert f"{path} is damaged: read from the newest checkpoint" in caplog.text


def test_a_line_that_a_training_is_about_to_write_is_no_damage(tmp_path, caplog):
    workdir = write_run(tmp_path / "run")
    path = workdir / "metrics.jsonl"
    history = epoch_logs.read(path)
    Checkpoints(workdir / "checkpoints").save(30, {"a": np.ones(2)}, {"history": history}, 0.6)
    epoch_logs.write(path, history[:-1])
    assert len(records.read_run(workdir).history) == len(history)
    assert not caplog.records


def test_every_start_of_a_run_is_in_its_row(tmp_path):
    moved = {**PROVENANCE, "devices": ["H100"], "earlier": [PROVENANCE, PROVENANCE]}
    write_run(tmp_path / "run", about={"provenance": moved})
    assert "| A Processor, 2 cores; 1 x H100 |" in lists.runs(found(tmp_path))


def test_a_record_says_nothing_of_the_machines_folders(tmp_path):
    option = f"images={tmp_path}"
    changes = {"data_options": (option, "unlabeled=void"), "start_from": str(tmp_path / "first")}
    workdir = write_run(tmp_path / "run", **changes)
    write_scores(workdir, 0.6)
    record = records.read_run(workdir)
    text = records.write(record, tmp_path / "kept").read_text()
    assert str(tmp_path) not in text and "/data" not in text
    assert "unlabeled=void" in text
    assert "start_from=first" in record.changes


@pytest.mark.parametrize(
    ("preset", "sets", "row"),
    [
        (
            "camvid",
            ("cache_features=false", "execution.unroll=4", "patience=9", "epochs=3"),
            "camvid",
        ),
        ("camvid", ("l2=0", "units=[8,8]"), "camvid, units=[8, 8], l2=0"),
        ("camvid", ("cell=lstm",), "camvid_lstm"),  # another preset, whatever its name says
        ("camvid_modern", ("epochs=3",), "camvid_modern, epochs=3"),  # the schedule's length
        ("camvid_modern", ("seed=3",), "camvid_modern"),
        ("camvid", ("average=0.5",), "camvid, ema_decay=0.5"),  # by its present name
        ("camvid", ("finetune_vgg=true",), "camvid, backbone.trainable=true"),
        ("camvid_fcn8s", ("upsample_stride=16",), "camvid_fcn16s"),
        ("camvid_unet", ("channels=[2,3]", "seed=1"), "camvid_unet, channels=[2, 3]"),
    ],
)
def test_a_row_is_what_was_trained(tmp_path, preset, sets, row):
    assert list(found(write_run(tmp_path / "run", preset, sets=sets))) == [row]


def test_a_run_without_a_name_is_recognized(tmp_path):
    for index, preset in enumerate(PRESETS):
        workdir = write_run(tmp_path / str(index), preset, about={"preset": None})
        record = records.read_run(workdir)
        assert record.changes == ()
        assert PRESETS[record.preset][1:] == PRESETS[preset][1:]


def test_files_of_long_rows_have_names_that_any_disk_takes(tmp_path):
    kept, options = tmp_path / "kept", tuple(f"option{n}=value" for n in range(40))
    rows = [(*options, "last=1"), (*options, "last=2")]  # one row as far as a name reaches
    for index, row in enumerate(rows):
        workdir = write_run(tmp_path / str(index), data_options=row)
        written = records.write(records.read_run(workdir), kept)
        assert len(f".{written.name}.4194304.part") <= 143  # as it is called while it is written
    assert sorted(record.run.settings.data_options for record in records.read(kept)) == rows


def test_records_are_kept_and_read_again(tmp_path):
    kept = tmp_path / "kept"
    workdir = write_run(tmp_path / "run", sets=("l2=0",), mious=(1 / 3, 2 / 3))
    write_scores(workdir, 0.6)
    record = records.read_run(workdir)
    assert records.write(record, kept).name == "camvid-l2-0-seed0.json"
    assert records.read(kept) == [record]
    (kept / "bad.json").write_text('{"preset": "camvid"}')
    with pytest.raises(UserError, match=r"bad\.json is damaged"):
        records.read(kept)


def test_a_record_of_an_older_version_is_read_and_written_under_todays_names(tmp_path):
    """The fields of run.json before backbone, network and execution were apart."""
    workdir = write_run(tmp_path / "run")
    about = json.loads((workdir / "run.json").read_text())
    config, settings = about["config"], about["settings"]
    backbone, execution = config.pop("backbone"), config.pop("execution")
    del config["network"]
    config |= {"vgg_layer": config.pop("tap"), "finetune_vgg": True}
    config |= {"unroll": execution["unroll"], "recompute": execution["remat"]}
    config |= {"classes": about.pop("classes")}
    assert backbone["trainable"] is False
    settings |= {"average": 0.25, "colour": 0.5, "versions": 3, "vgg_rate": 0.5}
    for name in ("ema_decay", "color", "num_augmented_copies", "backbone_rate"):
        del settings[name]
    (workdir / "run.json").write_text(json.dumps(about))
    record = records.read_run(workdir)
    assert record.run.classes == CLASSES
    assert set(record.changes) == {
        "backbone.trainable=true",
        "ema_decay=0.25",
        "color=0.5",
        "num_augmented_copies=3",
        "backbone_rate=0.5",
    }
    kept = records.write(record, tmp_path / "kept")
    assert records.read(kept.parent) == [record]
    assert "finetune_vgg" not in kept.read_text()
    without = about["config"] | {"vgg_layer": None}
    (workdir / "run.json").write_text(json.dumps(about | {"config": without}))
    assert records.read_run(workdir).run.config.backbone is None


def test_the_longer_of_two_runs_is_reported(tmp_path, caplog):
    long = records.read_run(write_run(tmp_path / "long"))
    short = records.read_run(write_run(tmp_path / "short", mious=(0.4, 0.7)))
    other = records.read_run(write_run(tmp_path / "other", mious=(0.5,)))
    assert records.merge([short, long]) == records.merge([long, short]) == {"camvid": [long]}
    assert not caplog.text  # the one is the beginning of the other
    assert records.merge([other, long]) == {"camvid": [long]}
    assert "two runs are camvid-seed0.json" in caplog.text


def test_a_damaged_run_is_reported_and_one_without_an_epoch_left_out(tmp_path, caplog):
    write_run(tmp_path / "good")
    write_run(tmp_path / "begun", mious=())
    (write_run(tmp_path / "bad") / "run.json").write_text("{")
    assert list(found(tmp_path)) == ["camvid"]
    assert caplog.text.count("left out") == 1
