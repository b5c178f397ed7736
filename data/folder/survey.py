"""What is known of a folder dataset before its images are decoded: places, table, pairs, splits.

It is made anew for each call, from names and headers; what is read from a file is kept for as long
as the file stays as it is.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from data.folder import dividing, label_rule, pairing, table
from data.folder.pairing import File
from data.folder.places import Places, find, say
from data.folder.table import Table
from data.reading.decode import decode_all
from data.reading.headers import unchanged
from data.reading.layout import Pair
from data.reading.orientation import EXIF, check_headers
from reseg_jax.errors import UserError, check_choice
from reseg_jax.files.atomic import read_file
from reseg_jax.files.images import SUFFIXES, decode_label_pixels
from reseg_jax.files.label_reading import LabelSummary, summarize
from reseg_jax.files.walk import Found, walk
from reseg_jax.labels import LabelReading


class Survey(NamedTuple):
    """A folder dataset.

    Attributes:
      places: its folders.
      table: of its classes.
      splits: {split: its pairs}; of a split whose label files are not there, None.
    """

    places: Places
    table: Table
    splits: dict[str, list[Pair] | None]

    def pairs(self, split: str) -> list[Pair]:
        """The pairs of a split.

        Raises:
          UserError: it is not there.
        """
        if split in self.splits and self.splits[split] is None:
            raise UserError(
                f"{self.places.labels} has no {split} split, and {self.places.images} has one: "
                f"add {split}/ there"
            )
        if split not in self.splits:
            raise UserError(
                f"{self.places.images} has no {split} split: it holds "
                f"{', '.join(self.splits)}; add {split}/ there and among the labels"
            )
        if not self.splits[split]:
            raise UserError(f"the {split} split of {self.places.images} is empty: fill it")
        return self.splits[split]

    @property
    def all_pairs(self) -> list[Pair]:
        """The pairs of all splits."""
        return [pair for pairs in self.splits.values() for pair in pairs or ()]


def make(
    data_dir: str | os.PathLike | None = None,
    images: str | os.PathLike | None = None,
    labels: str | os.PathLike | None = None,
    classes: str | os.PathLike | None = None,
    label_pattern: str | None = None,
    exif: str | None = None,
    lists: str | os.PathLike | None = None,
) -> Survey:
    """The survey of a dataset; arguments as for `data.folder.load`.

    Raises:
      UserError: a folder, the table or one of a pair of files is missing, or it is not clear what
        belongs together.
    """
    if exif is not None:
        check_choice("exif", exif, EXIF)
    places = find(data_dir, images, labels, classes)
    names = table.read_table(places.classes)
    survey = Survey(places, names, _split(places, data_dir, label_pattern, lists))
    check_headers(survey.all_pairs, exif)
    return survey


def _split(places, data_dir, label_pattern, lists) -> dict[str, list[Pair] | None]:
    """{split: its pairs}, by whoever divides them."""
    if places.by_split:
        if lists:
            raise UserError(f"lists={lists}: {places.images} has a folder per split, give one")
        return _by_split(places, label_pattern)
    photos, label_files = _walk(places.images, places), _walk(places.labels, places)
    divided = None if lists else dividing.by_folder(places.images, photos.files)
    listed = _find_lists(places, data_dir, lists)
    if divided is None and listed:
        splits = _by_lists(places, listed, photos.files, label_files.files, label_pattern)
    elif divided is None:
        dividing.refuse_likeness(places.images, photos.files)
        pairs = _pair(places, {"": photos.files}, {"": label_files.files}, label_pattern)[""]
        splits = dividing.by_draw(pairs, places.images)
    else:
        if listed:
            files = ", ".join(map(str, listed.values()))
            say(f"split by the folders in {places.images}, not by {files}")
        if outside := divided.pop("", []):
            say(f"{places.images}: {len(outside)} images lie in no split, as {outside[0]}")
        of_labels = dividing.by_folder(places.labels, label_files.files) or {}
        splits = dict.fromkeys(divided)
        both = [split for split in divided if of_labels.get(split)]
        for split in divided:
            if split not in both and split != "test":
                raise UserError(
                    f"{places.labels / split} is not there, or holds no label file: "
                    f"{places.images} has a {split} split, and labels need the same folders"
                )
        photos_of, labels_of = ({s: each[s] for s in both} for each in (divided, of_labels))
        splits |= _pair(places, photos_of, labels_of, label_pattern)
    return splits


def _by_split(places, label_pattern):
    """The pairs where each split has a folder with images and labels of its own."""
    photos, labels = {}, {}
    for split, (images, masks) in places.by_split.items():
        if masks is None and split != "test":
            raise UserError(
                f"{places.images / images} are images of a split, and no folder labels is beside "
                "them: add it"
            )
        if masks is None:
            continue
        for files, folder in ((photos, images), (labels, masks)):
            found = _walk(places.images / folder, places)
            files[split] = [Path(folder) / file for file in found.files]
    return dict.fromkeys(places.by_split) | _pair(places, photos, labels, label_pattern)


def decide_reading(
    survey: Survey, known: LabelReading | None = None, split: str | None = None
) -> LabelReading:
    """The one reading of all label files.

    Args:
      survey: of the dataset.
      known: the reading that has been decided before, in training for example. If the table allows
        it, it is taken, and only the files of `split` are looked at, of which all must fit it.
      split: that is about to be read.

    Raises:
      UserError: files do not fit; see `label_rule.decide`.
    """
    if known in label_rule.candidates(survey.table).values():
        files = summarize_all([pair.label for pair in survey.pairs(split)]) if split else {}
        label_rule.check_fit(files, known)
        return known
    return label_rule.decide(survey.table, summarize_all([pair.label for pair in survey.all_pairs]))


def summarize_all(paths: Sequence[Path]) -> dict[Path, LabelSummary]:
    """What every label file holds.

    Raises:
      UserError: some cannot be read: says how many, and of the first one why.
    """
    summaries = dict(zip(paths, decode_all(_attempt, paths), strict=True))
    broken = [error for error in summaries.values() if isinstance(error, UserError)]
    if broken:
        more = f" ({len(broken) - 1} more label files like it)" if len(broken) > 1 else ""
        raise UserError(f"{broken[0]}{more}")
    return summaries


@unchanged
def _summary(path: Path) -> LabelSummary:
    return summarize(decode_label_pixels(read_file(path), str(path)))


def _attempt(path):
    try:
        return _summary(path)
    except UserError as error:
        return error


def _walk(folder: Path, places: Places) -> Found:
    """The image files of one of the two folders, without the other if that is in it."""
    others = {places.images, places.labels} - {folder}
    inside = {os.path.realpath(other) for other in others} - {os.path.realpath(folder)}
    found = walk(folder, SUFFIXES, inside)
    if not found.files:
        raise UserError(f"{folder} holds no {' or '.join(SUFFIXES)} file{found.passed_over}")
    if found.ignored:
        say(f"{folder}: {found.passed_over.strip('; ')}")
    return found


def _pair(places, photos, labels, pattern) -> dict[str, list[Pair]]:
    """{split: pairs}, all paired in one way."""
    if places.together:
        labels = photos
    depth = 2 if places.by_split else 1  # train/images/x.jpg or train/x.jpg
    found = pairing.pair(
        list_files(places.images, photos, depth),
        list_files(places.labels, labels, depth),
        (places.images, places.labels),
        pattern,
    )
    if found.remark:
        say(f"{places.images}: {found.remark}")
    owner = {places.images / file: split for split, files in photos.items() for file in files}
    splits = {split: [] for split in photos}
    for pair in found.pairs:
        split = owner[pair.image]
        name = pair.name.removeprefix(f"{split}/")
        splits[split].append(pair._replace(name=name))
    return splits


def list_files(folder: Path, splits: Mapping[str, Sequence[Path]], depth: int = 1) -> list[File]:
    """Files by what they are compared by, folders of a split under the split's own name.

    Args:
      folder: that holds them.
      splits: {split: paths below the folder}; "" for those in no split.
      depth: how many folders of a path say its split, and whether it is an image or a label.
    """
    found = []
    for split, paths in splits.items():
        for path in paths:
            parents = path.parts[depth:-1] if split else path.parts[:-1]
            place = "/".join([split, *parents] if split else parents)
            found.append(File(place, path.stem, folder / path))
    return found


def _find_lists(places, data_dir, lists) -> dict[str, Path]:
    """{split: the list of its names}, in the folder `lists` or wherever it usually is."""
    if lists:
        if found := dividing.find_lists([Path(lists).expanduser()]):
            return found
        raise UserError(f"lists={lists}: no train.txt and val.txt there")
    tops = [Path(data_dir).expanduser()] if data_dir else []
    tops += [places.classes.parent, places.images.parent, places.images]
    below = ("", "splits", "lists", "ImageSets/Segmentation")
    return dividing.find_lists([top / name for top in tops for name in below])


def _by_lists(places, lists, photos, label_files, pattern) -> dict[str, list[Pair]]:
    """The pairs of images that lists name; others may be without a label."""
    if places.together:
        pairs = _pair(places, {"": photos}, {"": label_files}, pattern)[""]
        splits, remark = dividing.by_lists(pairs, lists)
    else:
        named = [Pair(path.with_suffix("").as_posix(), path, path) for path in photos]
        divided, remark = dividing.by_lists(named, lists)
        photos = [pair.image for pairs in divided.values() for pair in pairs]
        files = (
            list_files(places.images, {"": photos}),
            list_files(places.labels, {"": label_files}),
        )
        labels = set(pairing.partners(*files, pattern).values())
        kept = [path for path in label_files if places.labels / path in labels]
        pairs = _pair(places, {"": photos}, {"": kept}, pattern)[""]
        splits, _ = dividing.by_lists(pairs, lists)
    say(remark)
    return splits
