"""The toy scenes: the same everywhere, fit for scoring, and half of them unknowable from nearby."""

import subprocess
import sys
import zlib

import numpy as np
import pytest
from scipy.ndimage import distance_transform_cdt

import data
from data.toy import SIZES, scenes
from data.toy.scenes import Cues, draw
from reseg_jax.labels import VOID

NAMES = data.classes("toy").names
FAR = {"building": "fence", "pole": "sign", "road": "sidewalk", "car": "bicyclist"}
PAIRS = {NAMES.index(a): NAMES.index(b) for a, b in FAR.items()}
PARTNER = PAIRS | {b: a for a, b in PAIRS.items()}
# VGG-16 up to conv3_3 sees 40x40 pixels (two blocks of two 3x3 convolutions and a pooling, then
# three convolutions: 1 + 2 * 2 + 1 + 2 * 2 * 2 + 2 + 3 * 2 * 4 = 40): 20 to a side.
RADIUS = 20

VAL_CHECKSUM = 0xC99BDAF9  # CRC-32 of all images and labels, in order


@pytest.fixture(scope="module")
def splits():
    return {split: data.load("toy", split) for split in data.SPLITS}


def checksum(examples):
    return zlib.crc32(b"".join(e.image.tobytes() + e.label.tobytes() for e in examples))


def both_worlds(seed):
    """The scene of `seed` as it is, and with one cue changed, then the other."""
    scene = draw(seed)
    board = "trees" if scene.cues.board == "wall" else "wall"
    trees = "yellow" if scene.cues.trees == "green" else "green"
    return (
        scene,
        draw(seed, Cues(board, scene.cues.trees)),
        draw(seed, Cues(scene.cues.board, trees)),
    )


def test_examples_are_images_with_labels(splits):
    for split, examples in splits.items():
        assert len(examples) == SIZES[split]
        assert len({example.name for example in examples}) == len(examples)
        for example in examples:
            assert example.image.shape == (scenes.HEIGHT, scenes.WIDTH, 3)
            assert example.label.shape == (scenes.HEIGHT, scenes.WIDTH)
            assert example.image.dtype == example.label.dtype == np.uint8
            assert set(np.unique(example.label)) <= {*range(len(NAMES)), VOID}


def test_every_python_draws_the_same_scenes(splits):
    """In a fresh process too; the figures in the READMEs hold for these scenes only."""
    assert checksum(splits["val"]) == VAL_CHECKSUM
    code = "import data, zlib; e = data.load('toy', 'val')[7]; print(zlib.crc32(e.image.tobytes()))"
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, text=True
    )
    assert int(printed.stdout) == zlib.crc32(splits["val"][7].image.tobytes())


def test_no_scene_is_in_two_splits_or_twice(splits):
    images = [example.image.tobytes() for examples in splits.values() for example in examples]
    assert len(set(images)) == sum(SIZES.values())
    labels = [example.label.tobytes() for examples in splits.values() for example in examples]
    assert len(set(labels)) == sum(SIZES.values())


@pytest.mark.parametrize("split", data.SPLITS)
def test_every_class_and_void_is_frequent(splits, split):
    labels = np.stack([example.label for example in splits[split]])
    for label in (*range(len(NAMES)), VOID):
        found = labels == label
        assert found.mean() > 0.015, label
        assert found.any(axis=(1, 2)).mean() > 0.3, label


def test_a_far_cue_changes_the_classes_of_the_same_pixels():
    """The heart of the toy: the same pixels, the same surroundings, the other class.

    Whatever sees 20 pixels far answers the same in both worlds, so it is wrong in one of them.
    """
    swapped = np.zeros(len(NAMES), int)
    for index in range(20):
        scene, *others = both_worlds([index])
        for other in others:
            touched = (scene.image != other.image).any(axis=2)
            distance = distance_transform_cdt(~touched, "chessboard")
            changed = (scene.label != other.label) & ~touched
            assert (distance[changed] > RADIUS).all()
            for ours, theirs in zip(scene.label[changed], other.label[changed], strict=True):
                assert PARTNER[ours] == theirs
            swapped += np.bincount(scene.label[changed], minlength=len(NAMES))
    assert all(swapped[label] > 1000 for label in PARTNER), swapped


def test_each_cue_is_a_fair_coin(splits):
    """Within four standard deviations of half the scenes, and independent of the other."""
    worlds = np.array([draw([index]).cues for index in range(400)])
    board, green = worlds[:, 0] == "wall", worlds[:, 1] == "green"
    for coin in (board, green, board == green):
        assert abs(coin.sum() - 200) < 40


def test_the_cues_decide_every_far_class():
    """An oracle that knows the two cues and which pair a pixel belongs to is never wrong."""
    for index in range(40):
        scene = draw([index])
        present = set(np.unique(scene.label).tolist())
        fence, building, pole = (NAMES.index(n) for n in ("fence", "building", "pole"))
        assert (building in present) == (pole in present) == (scene.cues.trees == "green")
        assert (fence in present) == (scene.cues.trees == "yellow")
        road, sidewalk = (
            np.argwhere(scene.label == NAMES.index(n))[:, 1].mean() for n in ("road", "sidewalk")
        )
        board_row = scene.image[5].astype(int)
        board = np.flatnonzero(board_row[:, 1] - board_row[:, 0] > 110)
        assert abs(board.mean() - road) < abs(board.mean() - sidewalk)


@pytest.mark.parametrize("pair", PAIRS.items(), ids=[f"{a}-{b}" for a, b in FAR.items()])
def test_the_colors_of_a_pair_are_the_same(splits, pair):
    """Total variation between the color histograms of the two, against that of other classes.

    The board is a sign and no pole: it is left out by its rows.
    """
    examples = splits["train"]
    images = np.stack([example.image for example in examples])[:, 12:]
    labels = np.stack([example.label for example in examples])[:, 12:]

    def histogram(label):
        colors = images[labels == label] // 32
        counts = np.bincount(colors @ np.array([64, 8, 1]), minlength=512)
        return counts / counts.sum()

    def distance(a, b):
        return abs(histogram(a) - histogram(b)).sum() / 2

    assert distance(*pair) < 0.12
    others = set(range(len(NAMES))) - set(pair)
    assert min(distance(pair[0], other) for other in others) > 0.5
