"""A CamVid of four frames, four by six pixels each."""

import numpy as np

from tests.support.dataset_files import write

FRAMES = {"train": ("b_2", "a_1", "a_3"), "val": ("c_1",)}


def draw(name, height=4, width=6):
    """The (image, label file values) called `name`; labels 0 to 11."""
    generator = np.random.default_rng(list(name.encode()))
    return (
        generator.integers(0, 256, (height, width, 3), np.uint8),
        generator.integers(0, 12, (height, width), np.uint8),
    )


def small_camvid(parent):
    """A small CamVid/ in `parent`, with training and validation frames."""
    for split, names in FRAMES.items():
        for name in names:
            image, label = draw(name)
            write(parent / "CamVid" / split / f"{name}.png", image)
            write(parent / "CamVid" / f"{split}annot" / f"{name}.png", label)
    return parent / "CamVid"
