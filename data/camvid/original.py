"""CamVid as its authors publish it: 960x720 frames, labels in 32 colors.

They are brought to the 11 classes and 480x360 pixels of the paper. No label is invented on the
way: a pixel gets the most common label of the 2x2 that it stands for, and a frame is averaged
over the same 2x2.

Dimension key: `H W` axes of the original, both even.
"""

import numpy as np

from data.reading.layout import Pair, check_sizes
from reseg_jax.errors import UserError
from reseg_jax.files.colors import decode_colors
from reseg_jax.files.images import read_image
from reseg_jax.labels import VOID

COLORS = {  # name -> (color, class of the eleven): CamVid's label_colors.txt
    # The merger is that of the ReSeg authors' CamVid loader.
    "Animal": ((64, 128, 64), VOID),
    "Archway": ((192, 0, 128), VOID),
    "Bicyclist": ((0, 128, 192), 10),
    "Bridge": ((0, 128, 64), 1),
    "Building": ((128, 0, 0), 1),
    "Car": ((64, 0, 128), 8),
    "CartLuggagePram": ((64, 0, 192), 8),
    "Child": ((192, 128, 64), 9),
    "Column_Pole": ((192, 192, 128), 2),
    "Fence": ((64, 64, 128), 7),
    "LaneMkgsDriv": ((128, 0, 192), 3),
    "LaneMkgsNonDriv": ((192, 0, 64), 3),
    "Misc_Text": ((128, 128, 64), VOID),
    "MotorcycleScooter": ((192, 0, 192), 10),
    "OtherMoving": ((128, 64, 64), 8),
    "ParkingBlock": ((64, 192, 128), 4),
    "Pedestrian": ((64, 64, 0), 9),
    "Road": ((128, 64, 128), 3),
    "RoadShoulder": ((128, 128, 192), 3),
    "Sidewalk": ((0, 0, 192), 4),
    "SignSymbol": ((192, 128, 128), 6),
    "Sky": ((128, 128, 128), 0),
    "SUVPickupTruck": ((64, 128, 192), 8),
    "TrafficCone": ((0, 0, 64), 6),
    "TrafficLight": ((0, 64, 64), 6),
    "Train": ((192, 64, 128), VOID),
    "Tree": ((128, 128, 0), 5),
    "Truck_Bus": ((192, 128, 192), 8),
    "Tunnel": ((64, 0, 64), VOID),
    "VegetationMisc": ((192, 192, 0), 5),
    "Void": ((0, 0, 0), VOID),
    "Wall": ((64, 192, 0), 1),
}


def read(pair: Pair) -> tuple[np.ndarray, np.ndarray]:
    """An original frame at half its size, with the eleven classes.

    Returns:
      (image uint8 [H/2, W/2, 3], label uint8 [H/2, W/2]).

    Raises:
      UserError: a file is missing or broken, or is not CamVid's.
    """
    image, colors = read_image(pair.image), read_image(pair.label)
    check_sizes(pair, image.shape, colors.shape)
    if image.shape[0] % 2 or image.shape[1] % 2:
        height, width = image.shape[:2]
        raise UserError(f"{pair.image} is {width}x{height}: an original frame is 960x720")
    label = eleven_classes(colors)
    if (label == VOID).all():
        raise UserError(f"{pair.label} shows none of CamVid's 32 colors: is it its label file?")
    return halve_image(image), halve_label(label)


def eleven_classes(colors: np.ndarray) -> np.ndarray:
    """The classes uint8 [H, W] of a label image uint8 [H, W, 3].

    A color that is not in the table is VOID: one published frame, Seq05VD_f02610, has some.
    """
    label, _ = decode_colors(colors, COLORS.values())
    return label


def halve_image(image: np.ndarray) -> np.ndarray:
    """The mean of each 2x2, rounded half up: uint8 [H, W, 3] -> [H/2, W/2, 3]."""
    sums = sum(quarter.astype(np.uint16) for quarter in _quarters(image))
    return ((sums + 2) // 4).astype(np.uint8)


def halve_label(label: np.ndarray) -> np.ndarray:
    """The most common label of each 2x2, of equally common ones the first in reading order.

    VOID is a label like the others: uint8 [H, W] -> [H/2, W/2].
    """
    quarters = np.stack(_quarters(label))
    counts = (quarters[:, None] == quarters).sum(axis=1)
    return np.take_along_axis(quarters, counts.argmax(axis=0)[None], axis=0)[0]


def _quarters(array):
    """The four pixels of every 2x2, in reading order."""
    return [array[row::2, column::2] for row in (0, 1) for column in (0, 1)]
