"""The table of the field: a row for each network, a figure or a reason in each cell."""

import json

import numpy as np
import pytest

from experiments import costs
from experiments.presets import PRESETS
from experiments.reporting import field, tables
from reseg_jax.errors import UserError
from tests.support.written_runs import found, write_run

PUBLISHED = {each["id"]: each for each in json.loads(tables.PUBLISHED.read_bytes())["tables"]}
# What `reseg_jax.training.provenance` says, as far as the table reads it.
PROVENANCE = {"processor": "A Processor", "cores": 2, "versions": {"jax": "0.10.2"}}
COST = {
    "parameters": 1_416_587,
    "flops": 2.5e9,
    "milliseconds": 812.4,
    "megabytes": 700,
    "size": [360, 480],
    "provenance": PROVENANCE,
}


def rows_of(text):
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    return {cells[1]: dict(zip(lines[0], cells, strict=True)) for cells in lines[2:]}


def test_every_network_has_a_row():
    assert set(field.presets()) == {row["preset"] for row in PUBLISHED["field"]["rows"]}
    networks = {type(preset.config) for name, preset in PRESETS.items() if "camvid" in name}
    assert {type(PRESETS[name].config) for name in field.presets()} == networks


def test_a_run_and_its_costs_are_reported(tmp_path):
    write_run(tmp_path / "a", "camvid_segnet_basic", sets=("shrink=2",))
    text = field.section(PUBLISHED["field"], found(tmp_path), {"camvid_segnet_basic": COST})
    row = rows_of(text)["camvid_segnet_basic"]
    assert row["published test mIoU"] == "46.3"
    assert (row["our validation mIoU"], row["frames"]) == ("70.00", "240x180")
    assert (row["epochs"], row["minutes"]) == ("3", "6.0")
    assert (row["million parameters"], row["GFLOPs"]) == ("1.417", "2.5")
    assert (row["ms an image"], row["peak MB"]) == ("812", "700")
    assert "480x360" in text
    assert "A Processor, 2 cores" in text


def test_what_was_not_run_says_why():
    for row in rows_of(field.section(PUBLISHED["field"], {}, {})).values():
        assert row["our validation mIoU"].startswith("not run, because")
        assert row["million parameters"].startswith("not run, because")
        assert all(cell.strip() for cell in row.values())


def test_costs_of_another_size_or_machine_are_not_mixed(tmp_path):
    slower = COST | {"provenance": PROVENANCE | {"processor": "Another"}}
    costs.check_alike(COST, {"camvid": COST}, tmp_path)
    for other in (slower, COST | {"size": [180, 240]}):
        with pytest.raises(UserError, match=r"has camvid measured at .* another --output"):
            costs.check_alike(COST, {"camvid": other}, tmp_path)


def test_runs_with_other_changes_are_not_the_networks_row(tmp_path):
    write_run(tmp_path / "a", "camvid_unet", sets=("shrink=2", "dropout=0.1"))
    row = rows_of(field.section(PUBLISHED["field"], found(tmp_path), {}))["camvid_unet"]
    assert row["our validation mIoU"].startswith("not run")


@pytest.mark.slow
def test_the_costs_of_a_network():
    """ReSeg without VGG on 2x2 patches, counted by hand: `param_counts` of the paper's sizes."""
    found = costs.measure("camvid_no_vgg", (16, 32), 2)
    assert found["parameters"] == 660_261
    # Twice the area is twice the work, but for the resizing to the image: a product of matrices.
    doubled = costs.measure("camvid_no_vgg", (16, 64), 1)["flops"]
    assert doubled == pytest.approx(2 * found["flops"], rel=0.02)
    assert found["milliseconds"] > 0
    assert found["megabytes"] > 50
    assert np.all(np.equal(found["size"], (16, 32)))
