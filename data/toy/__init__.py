"""Street scenes with CamVid's classes, drawn from a seed: the embedded default, no download."""

from data.camvid import CLASSES
from data.example import Example
from data.toy.scenes import draw

__all__ = ["CLASSES", "SIZES", "load"]

SIZES = {"train": 400, "val": 80, "test": 80}  # scenes; our choice
SEED = 2016  # the year of the paper


def load(split: str, data_dir: str | None = None) -> list[Example]:
    """The scenes of a split, the same ones each time.

    Args:
      split: "train", "val" or "test".
      data_dir: not needed.
    """
    number = list(SIZES).index(split)
    scenes = [draw([SEED, number, index]) for index in range(SIZES[split])]
    return [
        Example(f"{split}_{index:04}", scene.image, scene.label)
        for index, scene in enumerate(scenes)
    ]
