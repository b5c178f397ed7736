"""CamVid's own frames, 960x720 in 32 colors, become the eleven classes at half the size."""

import numpy as np
import pytest

import data
from data.camvid import CLASSES, download, files, original
from reseg_jax.labels import VOID
from tests.support.dataset_files import refused, write


@pytest.fixture
def original_folder(tmp_path):
    """camvid/ as CamVid itself publishes it, each frame of the split `val` alike."""
    folder = tmp_path / "camvid"
    colors = {name: color for name, (color, _) in original.COLORS.items()}
    label = np.array(
        [
            [colors[name] for name in row]
            for row in (
                ("Sky", "Sky", "Road", "LaneMkgsDriv", "Car", "Truck_Bus"),
                ("Sky", "Tree", "Void", "Void", "Tree", "Fence"),
                ("Child", "Sky", "Train", "Void", "Void", "Sky"),
                ("Wall", "Pedestrian", "Animal", "Bicyclist", "Sky", "Void"),
            )
        ],
        np.uint8,
    )
    image = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    for path in download.read_checksums():
        name = path.split("/")[-1].removesuffix(".png")
        if path.startswith("CamVid/val/"):
            write(folder / files.ORIGINAL_IMAGES / f"{name}.png", image)
            write(folder / files.ORIGINAL_LABELS / f"{name}_L.png", label)
    return folder


def test_original_frames_are_halved_without_inventing_labels(original_folder):
    examples = data.load("camvid", "val", original_folder.parent)
    assert len(examples) == 101
    assert examples[0].name == "0016E5_07959"
    # By hand. Row 1: three skies and a tree; road and its markings (both road) against two void,
    # of which the first in reading order wins; two cars. Row 2: child and pedestrian; three void
    # of three names; two void and two sky, of which the first wins.
    np.testing.assert_array_equal(examples[0].label, [[0, 3, 8], [9, VOID, VOID]])
    # Pixels (0, 0), (0, 1), (1, 0), (1, 1) of the first channel are 0, 3, 18, 21: mean 10.5.
    assert examples[0].image[0, 0].tolist() == [11, 12, 13]
    assert examples[0].image.shape == (2, 3, 3)


def test_halving_a_label_takes_the_most_common_of_each_block():
    label = np.random.default_rng(0).integers(0, 4, (40, 60), np.uint8)
    halved = original.halve_label(label)
    for row in range(20):
        for column in range(30):
            block = label[2 * row : 2 * row + 2, 2 * column : 2 * column + 2].ravel().tolist()
            assert halved[row, column] == max(block, key=block.count)  # the first of equals


def test_thirty_two_colors_become_eleven_classes():
    assert len(original.COLORS) == len({color for color, _ in original.COLORS.values()}) == 32
    unmerged = (
        "Sky Building Column_Pole Road Sidewalk Tree SignSymbol Fence Car Pedestrian Bicyclist"
    )
    for index, name in enumerate(unmerged.split()):
        assert original.COLORS[name] == (CLASSES.palette[index], index)
    sizes = [1, 3, 1, 4, 2, 2, 3, 1, 5, 2, 2]  # names per class, as README.md lists them
    indices = [index for _, index in original.COLORS.values()]
    assert [indices.count(index) for index in range(11)] == sizes
    assert indices.count(VOID) == 6  # Animal, Archway, Misc_Text, Train, Tunnel and Void
    stray = np.array([[(1, 2, 3), (128, 0, 0), (128, 0, 1)]], np.uint8)
    np.testing.assert_array_equal(original.eleven_classes(stray), [[VOID, 1, VOID]])


def test_original_frames_that_cannot_be_used(original_folder):
    label = original_folder / files.ORIGINAL_LABELS / "0016E5_07963_L.png"
    write(label, np.full((4, 6, 3), 77, np.uint8))
    refused("camvid", "val", original_folder, label, "32 colors")
    write(label, np.zeros((4, 8, 3), np.uint8))
    refused("camvid", "val", original_folder, label, "8x4", "6x4")
    label.unlink()
    refused("camvid", "val", original_folder, label, "does not exist")
    refused("camvid", "train", original_folder, "0001TP_006690.png", "does not exist")
