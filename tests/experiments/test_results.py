"""From runs to the page of results: the paper's tables with ours beside them."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from experiments.presets import PRESETS
from experiments.reporting import curves, lists, maintainers, markdown, records, tables
from tests.support.written_runs import PROVENANCE, found, write_run, write_scores

ROOT = pathlib.Path(__file__).parents[2]


def line(text, start):
    """The cells of the one line of a Markdown table that begins with the cell `start`."""
    (match,) = [row for row in text.splitlines() if row.startswith(f"| {start} |")]
    return [cell.strip() for cell in match.strip("|").split("|")]


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
    write_scores(workdir, 0.7, "g.json", logit_adjustment=0.3)
    write_scores(workdir, 0.75, "j.json", discount=0.4)  # as an older version called it
    write_scores(workdir, 0.77, "k.json", crf={"w1": 4.0})
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
        "best, logits adjusted by 0.3": "70.00",
        "best, logits adjusted by 0.4": "75.00",
        "best, dense CRF": "77.00",
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
    rows = found(tmp_path)
    (both,) = (row for row in lists.variants(rows).splitlines() if "flip" in row)
    assert both.split("|")[-2].strip() == "+5.00 (camvid, batch_size=2)"
    # Two rows that differ by one field each: the same one is taken in whatever order they come.
    write_run(tmp_path / "other", mious=(0.6, 0.8), sets=("flip=true",))
    rows = found(tmp_path)
    text = lists.variants(rows)
    assert "+5.00 (camvid, batch_size=2)" in text
    assert lists.variants(dict(reversed(rows.items()))) == text


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


def test_the_maintainers_test_scores_stand_by_themselves():
    """Every share of results/test_scores.json, in percent, and nothing of validation beside it."""
    measured = maintainers.read()
    (section,) = [
        text
        for text in tables.report({}).split("\n## ")
        if text.startswith("Test split, measured by the maintainers")
    ]
    assert measured["source"] in section
    assert "validation" not in section
    rows = [
        [cell.strip() for cell in row.strip("|").split("|")]
        for row in section.splitlines()
        if row.startswith("| ")
    ]
    head, _, *scored = rows[: 2 + len(measured["entries"])]
    names = {"miou": "mIoU", "miou_void_counted": "void counted"}
    for row, entry in zip(scored, measured["entries"], strict=True):
        cells = dict(zip(head, row, strict=True))
        assert (cells["preset"], cells["split"]) == (entry["preset"], entry["split"])
        assert int(cells["images"]) == entry["images"]
        for name, share in entry["scores"].items():
            if name != "iou":
                cell = cells[names.get(name, name.replace("_", " ").replace("iou", "IoU"))]
                assert float(cell) == pytest.approx(100 * share)
    (entry,) = [entry for entry in measured["entries"] if "iou" in entry["scores"]]
    per_class, ious = rows[-3], rows[-1]
    assert per_class[1:] == list(entry["scores"]["iou"])
    assert [float(cell) for cell in ious[1:]] == pytest.approx(
        [100 * share for share in entry["scores"]["iou"].values()]
    )
    # Two figures of one source must agree: the mean of the classes, to rounding.
    mean = sum(entry["scores"]["iou"].values()) / len(entry["scores"]["iou"])
    assert mean == pytest.approx(entry["scores"]["miou"], abs=5e-4)


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


@pytest.mark.slow
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
    (kept / "camvid-seed0.json").rename(kept / "named-by-an-earlier-preset-seed0.json")
    run("nothing", "--record")
    assert [path.name for path in kept.iterdir()] == ["camvid-seed0.json"]
