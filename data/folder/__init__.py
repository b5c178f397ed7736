"""Anybody's images and labels: two folders of files and a table of classes.

    data.load("folder", "train", "mydata")  # mydata/images, mydata/labels, mydata/classes.json
    data.load("folder", "train", images="photos", labels="masks", classes="classes.json")

README.md says which files go together, how labels are read and how images are divided. `lazy` gives
the same examples as a source that decodes them on demand, for a set larger than memory.
"""

import os

from data.example import Example
from data.folder import label_rule, survey
from data.reading.decode import decode_all
from data.reading.headers import read_header
from data.reading.layout import Pair, check_sizes
from data.sources import Lazy
from reseg_jax.errors import UserError
from reseg_jax.files.images import read_image
from reseg_jax.files.label_reading import read_label
from reseg_jax.labels import Classes, LabelReading


def classes(
    data_dir: str | os.PathLike | None = None, reading: LabelReading | None = None, **options
) -> Classes:
    """The classes that the table names, and how label files are read.

    Args:
      data_dir, reading, **options: as for `load`.

    Raises:
      UserError: the table is missing or wrong, or label files do not fit one reading.
    """
    found = survey.make(data_dir, **options)
    return label_rule.with_reading(found.table, survey.decide_reading(found, reading))


def load(
    split: str,
    data_dir: str | os.PathLike | None = None,
    images: str | os.PathLike | None = None,
    labels: str | os.PathLike | None = None,
    classes: str | os.PathLike | None = None,
    label_pattern: str | None = None,
    exif: str | None = None,
    lists: str | os.PathLike | None = None,
    reading: LabelReading | None = None,
) -> list[Example]:
    """A split, decoded and in memory, sorted by name.

    Args:
      split: "train", "val" or "test".
      data_dir: the folder that holds images/, labels/ and the table of classes.
      images, labels, classes: each takes the place of one of these three.
      label_pattern: what label files are called, as "{name}_mask.png".
      exif: "apply" if label files were drawn on photos as EXIF turns them, "ignore" if on the
        pixels as they are stored; needed only if the files do not tell.
      lists: the folder of train.txt, val.txt and test.txt, lists of names.
      reading: how a run read label files; they are read so if the table allows it.

    Raises:
      UserError: names the first file that does not fit.
    """
    options = _given(locals(), but=("split", "data_dir", "reading"))
    source = lazy(split, data_dir, reading=reading, **options)
    return decode_all(lambda pair: Example(pair.name, *source.read(pair)), source.pairs)


def lazy(
    split: str,
    data_dir: str | os.PathLike | None = None,
    reading: LabelReading | None = None,
    **options,
) -> Lazy:
    """A split as a source for `data.batches.Batches`, decoded on demand; arguments as for `load`.

    Label files are decoded once before, to decide how all of them are read.

    Raises:
      UserError: a folder, the table or one of a pair of files is missing, or label files do not
        fit; an image that does not fit raises it when it is read.
    """
    found = survey.make(data_dir, **options)
    pairs = found.pairs(split)
    reading = survey.decide_reading(found, reading, split)
    upright = options.get("exif") != "ignore"

    def read(pair):
        if not upright and pair.image.suffix.lower() in (".tif", ".tiff"):
            _refuse_turned_tiff(pair)
        image = read_image(pair.image, upright)
        label = read_label(pair.label, reading, upright)
        check_sizes(pair, image.shape, label.shape)
        return image, label

    def size(pair):
        header = read_header(pair.label)
        return header.upright if upright else header.stored

    return Lazy(pairs, read, size)


def pairs(data_dir: str | os.PathLike | None = None, **options) -> dict[str, list[Pair]]:
    """{split: its image and label files}; arguments as for `load`."""
    found = survey.make(data_dir, **options)
    return {split: pairs for split, pairs in found.splits.items() if pairs is not None}


def _given(values, but):
    return {name: value for name, value in values.items() if value is not None and name not in but}


def _refuse_turned_tiff(pair):
    """Pillow turns a TIFF while it opens it."""
    if read_header(pair.image).orientation != 1:
        raise UserError(f"{pair.image} is a TIFF that is turned, exif=ignore needs a PNG or JPEG")
