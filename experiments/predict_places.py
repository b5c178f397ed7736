"""Where predict's images, their labels and the table of classes are, as the flags say."""

from pathlib import Path

from absl import flags

from data.folder import places
from experiments import data_flags
from reseg_jax.errors import UserError

_INPUT = flags.DEFINE_string("input", None, "image, folder of images or 'pattern' [--images]")


def named() -> tuple[str, str | None, str | Path | None]:
    """What the flags name: images, their label files or None, the table of classes or None."""
    given = [data_flags.IMAGES.value, data_flags.LABELS.value, data_flags.CLASSES.value]
    if _INPUT.value and given[0]:
        raise UserError("--input and --images name the same: give one of them")
    given[0] = _INPUT.value or given[0]
    if data_flags.DATA_DIR.value and None in given:
        found = places.find(data_flags.DATA_DIR.value, labels=given[1], classes=given[2])
        if found.by_split:
            folders = [found.images / images for images, _ in found.by_split.values()]
            raise UserError(
                f"--data_dir={data_flags.DATA_DIR.value} holds a folder per split: say which by "
                f"--images={folders[-1]}, with --labels if it has label files"
            )
        given = [own or str(place) for own, place in zip(given, found[:3], strict=True)]
    if not given[0]:
        raise UserError("--input: name an image, a folder of images or a pattern")
    return tuple(given)
