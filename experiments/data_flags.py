"""The flags of where a dataset's files are and which belong together.

They take the place of what a run's record says, so that data that was moved is found.
"""

from collections.abc import Iterable
from pathlib import Path

from absl import flags

from data.reading.orientation import EXIF as EXIF_CHOICES
from reseg_jax.training.workdir import PLACES

DATA_DIR = flags.DEFINE_string(
    "data_dir", None, "folder of the dataset [as before, else $RESEG_DATA or a download]"
)
IMAGES = flags.DEFINE_string("images", None, "--dataset=folder: folder of your images")
LABELS = flags.DEFINE_string("labels", None, "--dataset=folder: their label files, names alike")
CLASSES = flags.DEFINE_string(
    "classes", None, "--dataset=folder: classes.json, class_dict.csv or labelmap.txt"
)
LABEL_PATTERN = flags.DEFINE_string(
    "label_pattern", None, "--dataset=folder: what label files are called, as {name}_mask.png"
)
EXIF = flags.DEFINE_enum(
    "exif",
    None,
    EXIF_CHOICES,
    "labels were drawn on photos as EXIF turns them (apply) or as they are stored (ignore); needed "
    "if sizes do not show it",
)


def options(texts: Iterable[str] = ()) -> tuple[str, ...]:
    """Options of a dataset as "name=value" texts, changed by the flags.

    Args:
      texts: the options so far, a run's or those of --data_options.
    """
    given = {}
    for flag in (IMAGES, LABELS, CLASSES):
        if flag.value:
            given[flag.name] = str(Path(flag.value).expanduser().resolve())
    for flag in (LABEL_PATTERN, EXIF):
        if flag.value:
            given[flag.name] = flag.value
    kept = [text for text in texts if text.partition("=")[0] not in given]
    return (*kept, *(f"{name}={value}" for name, value in given.items()))


def moved(data_dir: str | None, texts: Iterable[str]) -> tuple[str | None, tuple[str, ...]]:
    """(data_dir, options) of a run's dataset, where the flags say that it is now.

    Args:
      data_dir, texts: what the run's record says.
    """
    if DATA_DIR.value:  # what was elsewhere is in there now
        data_dir = DATA_DIR.value
        texts = [text for text in texts if text.partition("=")[0] not in PLACES[:3]]
    return data_dir, options(texts)
