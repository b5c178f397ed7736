"""From runs' folders to the page of results, on folders written here by hand."""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys

import pytest

from data.camvid import CLASSES
from experiments.presets import PRESETS, build
from experiments.reporting import curves, lists, markdown, records, tables
from reseg_jax import plain
from reseg_jax.errors import UserError

ROOT = pathlib.Path(__file__).parents[1]
PROVENANCE = {
    "versions": {"python": "3.11.7", "jax": "0.10.2", "flax": "0.12.8"},
    "processor": "A Processor",
    "cores": 2,
    "devices": ["cpu", "cpu"],
    "commit": "0123456789abcdef0123456789abcdef01234567-dirty",
}


def write_run(workdir, preset="camvid", mious=(0.4, 0.7, 0.6), sets=(), about=None, **changes):
    """A finished run of `preset`: an epoch of 90 + 30 seconds for each of `mious`."""
    config, settings = build(preset, {"data_dir": "/data", **changes}, sets)
    config = dataclasses.replace(config, preprocessing="torchvision")
    run = {"preset": preset, "config": plain.to_dict(config)}
    run |= {"settings": plain.to_dict(settings), "provenance": PROVENANCE}
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
    """What `experiments.evaluate --json` writes, of CamVid's classes."""
    about = {"dataset": "camvid", "split": "test", "images": 233, "workdirs": [str(workdir)]}
    about |= {"checkpoint": "best", "step": 20, "average": 1, "steps": [20], "flip": False}
    about |= {"scales": [1.0], "samples": 0, "config": {}} | scored
    accuracy = {name: index / 100 for index, name in enumerate(CLASSES.names)}
    summary = {"miou": miou, "miou_void_counted": miou - 0.01, "global_accuracy": 0.887}
    summary |= {"mean_class_accuracy": 0.68, "accuracy": accuracy, "scored": about}
    (workdir / name).write_text(json.dumps(summary))


def found(*folders):
    return records.merge(records.find_runs(folders))


def line(text, start):
    """The cells of the one line of a Markdown table that begins with the cell `start`."""
    (match,) = [row for row in text.splitlines() if row.startswith(f"| {start} |")]
    return [cell.strip() for cell in match.strip("|").split("|")]


# --- records --------------------------------------------------------------------------------------


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


def test_a_record_says_nothing_of_the_machines_folders(tmp_path):
    option = f"images={tmp_path}"
    changes = {"data_options": (option, "unlabelled=void"), "start_from": str(tmp_path / "first")}
    workdir = write_run(tmp_path / "run", **changes)
    write_scores(workdir, 0.6)
    record = records.read_run(workdir)
    text = records.write(record, tmp_path / "kept").read_text()
    assert str(tmp_path) not in text and "/data" not in text
    assert "unlabelled=void" in text
    assert "start_from=first" in record.changes


def test_a_split_with_other_options_than_the_training_is_another(tmp_path):
    option = "hold_out=0006R0"
    run = write_run(tmp_path / "run", data_options=(option,))
    for name, options in (("same", [option]), ("other", [])):
        write_scores(run, 0.6, f"{name}.json", split="val", images=101, data_options=options)
    (scores,) = found(tmp_path).values()
    assert {split for split, *_ in lists.alike(scores)} == {"val", "val (no options)"}


def test_a_change_is_measured_on_the_same_images(tmp_path):
    write_run(tmp_path / "whole")
    for name, sets in (("base", []), ("change", ["l2=0"])):
        write_run(tmp_path / name, sets=sets, data_options=("hold_out=0006R0",))
    base, change = lists.variants(found(tmp_path)).splitlines()[-2:]
    assert base.split("|")[-2].strip() == ""  # what it gained
    assert '(camvid, data_options=["hold_out=0006R0"])' in change


@pytest.mark.parametrize(
    ("preset", "sets", "row"),
    [
        ("camvid", ("cache_features=false", "unroll=4", "patience=9", "epochs=3"), "camvid"),
        ("camvid", ("l2=0", "units=[8,8]"), "camvid, units=[8, 8], l2=0"),
        ("camvid", ("cell=lstm",), "camvid_lstm"),  # another preset, whatever it was called
        ("camvid_modern", ("epochs=3",), "camvid_modern, epochs=3"),  # the schedule's length
        ("camvid_modern", ("seed=3",), "camvid_modern"),
    ],
)
def test_a_row_is_what_was_trained(tmp_path, preset, sets, row):
    assert list(found(write_run(tmp_path / "run", preset, sets=sets))) == [row]


def test_a_run_without_a_name_is_found_out(tmp_path):
    for index, preset in enumerate(PRESETS):
        workdir = write_run(tmp_path / str(index), preset, about={"preset": None})
        record = records.read_run(workdir)
        assert record.changes == ()
        assert PRESETS[record.preset][1:] == PRESETS[preset][1:]


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


def test_the_longer_of_two_runs_is_reported(tmp_path, capsys):
    long = records.read_run(write_run(tmp_path / "long"))
    short = records.read_run(write_run(tmp_path / "short", mious=(0.4, 0.7)))
    other = records.read_run(write_run(tmp_path / "other", mious=(0.5,)))
    assert records.merge([short, long]) == records.merge([long, short]) == {"camvid": [long]}
    assert capsys.readouterr().err == ""  # the one is the other, earlier
    assert records.merge([other, long]) == {"camvid": [long]}
    assert "two runs are camvid-seed0.json" in capsys.readouterr().err


def test_a_damaged_run_is_told_and_one_that_has_only_begun_left_out(tmp_path, capsys):
    write_run(tmp_path / "good")
    write_run(tmp_path / "begun", mious=())
    (write_run(tmp_path / "bad") / "run.json").write_text("{")
    assert list(found(tmp_path)) == ["camvid"]
    assert capsys.readouterr().err.count("left out") == 1


# --- figures --------------------------------------------------------------------------------------


def test_seeds_are_averaged_with_their_spread(tmp_path):
    """50, 52 and 57: mean 53, deviation sqrt((9 + 1 + 16) / 2) = 3.61."""
    for seed, miou in enumerate((0.50, 0.52, 0.57)):
        write_scores(write_run(tmp_path / str(seed), seed=seed), miou)
    page = tables.report(found(tmp_path))
    cells = line(page, "camvid | " + PRESETS["camvid"].source)
    assert cells[2:5] == ["70.00 ± 0.00", "60.00 ± 0.00", "53.00 ± 3.61"]
    assert cells[5:8] == ["52.00 ± 3.61", "88.70 ± 0.00", "3"]
    assert markdown.spread([0.5], 1) == "50.0"
    assert markdown.spread([0.5, None], 1) == markdown.spread([], 1) == "-"


def test_every_row_of_the_papers_tables_is_there_and_says_that_it_was_not_run():
    page = tables.report({})
    published = json.loads(tables.PUBLISHED.read_text())["tables"][:4]
    sections = page.split("\n## ")
    for table in published:
        (section,) = [text for text in sections if text.startswith(table["title"])]
        for row in table["rows"]:
            assert "not run" in line(section, row["method"]), row


def test_ours_stand_beside_the_papers(tmp_path):
    write_scores(write_run(tmp_path / "camvid"), 0.591)
    write_run(tmp_path / "balanced", "camvid_balanced")
    sections = tables.report(found(tmp_path)).split("\n## ")
    (section,) = [text for text in sections if text.startswith("Table 3")]
    assert line(section, "ReSeg")[-3:] == ["58.8", "59.1", "1"]
    ours = line(section, "**ours**: camvid")
    # Building is class 1 of ours and first in the paper's table, tree class 5 and second.
    assert ours[1:3] == ["1.0", "5.0"]
    assert ours[12:14] == ["68.0", "88.7"]
    assert line(section, "ReSeg + Class Balance")[-2:] == ["not scored", ""]
    assert line(section, "SegNet")[-2:] == ["not run", ""]


def test_two_classes_in_each_reading(tmp_path):
    readings = ("global_accuracy", "foreground_iou", "miou")
    readings += ("accuracy_per_image", "foreground_iou_per_image", "miou_per_image")
    own = dict(zip(readings, (0.97, 0.88, 0.92, 0.96, 0.87, 0.91), strict=True))
    workdir = write_run(tmp_path / "horses", "horses")
    write_scores(workdir, 0.92, dataset="weizmann_horse")
    scores = json.loads((workdir / "scores_test.json").read_text())
    scores |= own
    scores["baselines"] = {
        "all_foreground": dict.fromkeys(readings, 0.25),
        "all_background": dict.fromkeys(readings, 0.75),
    }
    (workdir / "scores_test.json").write_text(json.dumps(scores))
    sections = tables.report(found(tmp_path)).split("\n## ")
    (section,) = [text for text in sections if text.startswith("Table 1")]
    figures = ["97.0", "88.0", "92.0", "96.0", "87.0", "91.0"]
    assert line(section, "ReSeg") == ["ReSeg", "96.8", "91.6", *figures, "1"]
    assert line(section, "All foreground")[1:5] == ["25.4", "79.9", "25.0", "25.0"]
    assert line(section, "ReSeg (no VGG)")[3] == "not run"


def test_only_the_plain_score_of_the_best_checkpoint_stands_for_a_run(tmp_path):
    workdir = write_run(tmp_path / "run")
    write_scores(workdir, 0.1, "a.json", flip=True)
    write_scores(workdir, 0.2, "b.json", checkpoint="latest")
    write_scores(workdir, 0.3, "c.json", scales=[0.75, 1.0])
    write_scores(workdir, 0.4, "d.json", samples=8)
    write_scores(workdir, 0.5, "e.json", average=3, checkpoint="30")
    write_scores(workdir, 0.6, "f.json", split="val")
    write_scores(workdir, 0.7, "g.json", discount=0.3)
    write_scores(workdir, 0.8, "h.json", model="head.npz")
    write_scores(workdir, 0.9, "i.json", runs=2)
    rows = found(tmp_path)
    assert lists.test_scores(rows["camvid"]) == []
    page = lists.every_score(rows)
    for start, miou in {
        "best, mirror images": "10.00",
        "latest": "20.00",
        "best, scales 0.75 1": "30.00",
        "best, 8 samples of dropout": "40.00",
        "3 newest checkpoints": "50.00",
        "best, frequencies discounted by 0.3": "70.00",
        "exported file": "80.00",
        "best of each of 2 runs": "90.00",
    }.items():
        assert line(page, f"camvid | test | 233 | {start}")[4] == miou
    assert line(page, "camvid | val | 233 | best")[4] == "60.00"


def test_what_a_change_gave(tmp_path):
    write_run(tmp_path / "base", mious=(0.6, 0.7))
    write_run(tmp_path / "without", mious=(0.6, 0.65), sets=("l2=0",))
    text = lists.variants(found(tmp_path))
    assert line(text, "camvid, l2=0")[-1] == "-5.00 (camvid)"


def test_a_change_is_measured_against_the_row_that_differs_least(tmp_path):
    write_run(tmp_path / "preset", mious=(0.6, 0.9))
    write_run(tmp_path / "base", mious=(0.6, 0.7), sets=("batch_size=2",))
    write_run(tmp_path / "both", mious=(0.6, 0.75), sets=("batch_size=2", "flip=true"))
    text = lists.variants(found(tmp_path))
    (both,) = (row for row in text.splitlines() if "flip" in row)
    assert both.split("|")[-2].strip() == "+5.00 (camvid, batch_size=2)"


def test_ours_stand_in_the_ladder_by_their_score(tmp_path):
    workdir = write_run(tmp_path / "camvid")
    write_scores(workdir, 0.6695)
    write_scores(workdir, 0.6715, "flip.json", flip=True)
    page = tables.report(found(tmp_path))
    ladder = page.split("\n## CamVid")[1].splitlines()
    names = [row.split("|")[1].strip() for row in ladder if row.startswith("| ")]
    place = names.index("**ours**: camvid; best")
    expected = ["FC-DenseNet103", "**ours**: camvid; best", "ICNet"]
    assert names[place - 1 : place + 2] == expected
    assert names[place + 2] == "**ours**: camvid; best, mirror images"


def test_a_score_that_was_written_twice_is_one(tmp_path):
    workdir = write_run(tmp_path / "run")
    write_scores(workdir, 0.6, "a.json")
    write_scores(workdir, 0.6, "b.json")
    assert len(lists.test_scores(found(tmp_path)["camvid"])) == 1


def test_the_machine_is_named():
    assert markdown.hardware(PROVENANCE) == "A Processor, 2 cores"
    assert markdown.hardware(PROVENANCE | {"devices": ["GPU X"] * 2}) == "2 x GPU X"
    assert markdown.hardware({}) == markdown.commit({}) == ""
    assert markdown.commit(PROVENANCE) == "01234567-dirty"


def test_curves_are_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", "horses")
    write_run(tmp_path / "c", data_options=("hold_out=0006R0",))
    curves.draw(found(tmp_path), tmp_path / "new" / "curves.png")
    assert (tmp_path / "new" / "curves.png").stat().st_size > 1000


def test_the_committed_page_is_of_the_committed_records():
    """If not: python -m experiments.results --record"""
    page = ROOT / "results" / "RESULTS.md"
    rows = records.merge(records.read(ROOT / "results" / "runs"))
    assert page.read_text(encoding="utf-8") == tables.report(rows)


# --- the command ----------------------------------------------------------------------------------


def test_the_command_records_and_writes_the_page(tmp_path):
    write_scores(write_run(tmp_path / "runs" / "deep" / "camvid"), 0.591)
    kept, page = tmp_path / "kept", tmp_path / "RESULTS.md"

    def run(folder, *flags):
        command = [sys.executable, "-m", "experiments.results", f"--runs={tmp_path / folder}"]
        command += [f"--records={kept}", f"--output={page}", *flags]
        environment = os.environ | {"JAX_PLATFORMS": "cpu"}
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "59.1" in run("runs", "--record")
    assert [path.name for path in kept.iterdir()] == ["camvid-seed0.json"]
    first = page.read_text()
    run("nothing")  # from the record alone
    assert page.read_text() == first
