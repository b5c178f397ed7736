"""Which label file belongs to which photo: by name, by the usual additions to it, or by a pattern.

A way is taken only if it pairs every file; what does not fit is an error that says what was
expected. Names are compared as Unicode sees them (NFC), so that a name that macOS has taken apart
(e and its accent) is the one that was typed.
"""

import itertools
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from data.reading.layout import Pair
from reseg_jax.errors import UserError
from reseg_jax.files.images import SUFFIXES

NAME = "{name}"

# What datasets add to the name of a photo and of its label file: CamVid (_L), Cityscapes
# (leftImg8bit, gtFine_...), DeepGlobe (_sat, _mask), BDD100K (train_id), DRIVE (training,
# manual1), Supervisely, labelme and CVAT exports.
PHOTO_ADDS = (
    *("{name}", "{name}_leftImg8bit", "{name}_image", "{name}_img", "{name}_sat", "{name}_rgb"),
    *("{name}_photo", "{name}_training", "image_{name}", "img_{name}", "image{name}", "img{name}"),
)
LABEL_ADDS = (
    *("{name}_mask", "{name}_masks", "{name}-mask", "{name}.mask", "{name}_label", "{name}_labels"),
    *("{name}-label", "{name}_seg", "{name}_segmentation", "{name}_gt", "{name}_L", "{name}_lbl"),
    *("{name}_annotation", "{name}_anno", "{name}_target", "{name}_groundtruth", "{name}_manual1"),
    *("{name}_gtFine_labelIds", "{name}_gtFine_labelTrainIds", "{name}_gtFine_color"),
    *("{name}_gtCoarse_labelIds", "{name}_labelIds", "{name}_train_id", "{name}_color"),
    *("mask_{name}", "label_{name}", "seg_{name}", "gt_{name}", "mask{name}", "label{name}"),
)
LOSSY = (".jfif", ".jpe", ".jpeg", ".jpg")  # of x.jpg and x.png in one folder, the photo


class File(NamedTuple):
    """A file by what it is compared by.

    Attributes:
      folder: where it is, within its split.
      stem: its name without suffix.
      path: the file.
    """

    folder: str
    stem: str
    path: Path

    @property
    def name(self) -> str:
        return f"{self.folder}/{self.stem}" if self.folder else self.stem


class Paired(NamedTuple):
    """Pairs, and how they were found; `remark` is "" if that needs no word."""

    pairs: list[Pair]
    remark: str


def pair(
    photos: Sequence[File],
    labels: Sequence[File],
    tops: tuple[Path, Path],
    pattern: str | None = None,
) -> Paired:
    """The pairs of photos and label files.

    Args:
      photos: the photos.
      labels: the label files; the same files as `photos` if one folder holds both.
      tops: the folders of photos and of label files, for messages.
      pattern: what a label file is called, {name} for the name of its photo; or None.

    Raises:
      UserError: a photo has no label or a label no photo, or two files have one name.
    """
    photos, labels = (list(map(_composed, files)) for files in (photos, labels))
    together = [file.path for file in photos] == [file.path for file in labels]
    if pattern:
        return _by_pattern(photos, labels, tops, pattern, together)
    if together:
        return _in_one_folder(photos, tops)
    if {file.name for file in photos} == {file.name for file in labels}:
        return Paired(_match(photos, labels, tops, NAME, NAME), "")
    if found := _by_additions(photos, labels, tops) or _in_any_case(photos, labels, tops):
        return found
    return Paired(_match(photos, labels, tops, *_likeliest(photos, labels)), "")


def partners(
    photos: Sequence[File], labels: Sequence[File], pattern: str | None = None
) -> dict[Path, Path]:
    """{photo: its label file} of those photos that have one; there may be more label files.

    Args:
      photos, labels, pattern: as for `pair`. A label may lie in another folder than its photo if
        both are the only ones of their name; and a name may differ in large and small letters if
        no other photo or label has it then.
    """
    photos, labels = (list(map(_composed, files)) for files in (photos, labels))
    if pattern:
        adds = (NAME, Path(pattern).stem if Path(pattern).suffix else pattern)
    elif {file.stem for file in photos} & {file.stem for file in labels}:
        adds = (NAME, NAME)
    else:
        adds = _likeliest(*([f._replace(folder="") for f in files] for files in (photos, labels)))
    photos, labels = (
        [file._replace(stem=_core(file, add)) for file in files if _core(file, add)]
        for files, add in zip((photos, labels), adds, strict=True)
    )
    by_name = {file.name: file.path for file in labels}
    found = {file.path: by_name[file.name] for file in photos if file.name in by_name}
    for key in (lambda file: file.stem, lambda file: file.name.casefold()):
        found = _only_ones(photos, labels, key) | found
    return found


def _only_ones(photos, labels, key):
    """{photo: label} of those that are the only ones of their `key` among either."""
    photos_of, labels_of = {}, {}
    for files, of in ((photos, photos_of), (labels, labels_of)):
        for file in files:
            of.setdefault(key(file), []).append(file.path)
    return {
        paths[0]: labels_of[name][0]
        for name, paths in photos_of.items()
        if len(paths) == len(labels_of.get(name, ())) == 1
    }


def _composed(file):
    return File(*(unicodedata.normalize("NFC", part) for part in file[:2]), file.path)


def _by_pattern(photos, labels, tops, pattern, together):
    if pattern.count(NAME) != 1 or "/" in pattern:
        raise UserError(
            f"--label_pattern={pattern}: write a file name with {NAME} for the name of the photo, "
            "as {name}_mask.png"
        )
    stem, suffix = pattern, ""
    if Path(pattern).suffix.lower() in SUFFIXES:
        stem, suffix = pattern[: -len(Path(pattern).suffix)], Path(pattern).suffix.lower()
    named, others = [], []
    for file in labels:
        fits = _core(file, stem) and suffix in ("", file.path.suffix.lower())
        (named if fits else others).append(file)
    if together:
        photos = others
    if not named:
        raise UserError(
            f"--label_pattern={pattern}: none of {len(labels)} files is called so, as "
            f"{labels[0].path}"
        )
    remark = f"labels by the pattern {pattern}"
    if others and not together:
        remark += f"; {len(others)} other files beside them are not used, as {others[0].path}"
    cores = {_renamed(file, stem) for file in named}
    for add in PHOTO_ADDS:  # {name} may be the name without what a dataset adds to photos
        if all(_core(file, add) for file in photos) and cores == {_renamed(f, add) for f in photos}:
            return Paired(_match(photos, named, tops, add, stem), remark)
    return Paired(_match(photos, named, tops, NAME, stem), remark)


def _in_one_folder(files, tops):
    """Photos and labels apart by the additions to label files, or x.jpg beside x.png."""
    for add in LABEL_ADDS:
        labels = [file for file in files if _core(file, add)]
        photos = [file for file in files if not _core(file, add)]
        if labels and (found := _by_additions(photos, labels, tops, [add])):
            return found
    photos = [file for file in files if file.path.suffix.lower() in LOSSY]
    labels = [file for file in files if file.path.suffix.lower() not in LOSSY]
    if photos and sorted(file.name for file in photos) == sorted(file.name for file in labels):
        kinds = ", ".join(sorted({file.path.suffix for file in labels}))
        remark = f"photos are the JPEG files and labels the {kinds} files of the same names"
        return Paired(_match(photos, labels, tops, NAME, NAME), remark)
    raise UserError(
        f"{tops[0]} holds photos and label files together, and their names do not tell which are "
        "which: say what label files are called, as --label_pattern={name}_mask.png"
    )


def _by_additions(photos, labels, tops, adds=(NAME, *LABEL_ADDS)) -> Paired | None:
    """The pairs by the first usual additions that pair every file."""
    if not (photos and labels):
        return None
    for photo_add, label_add in itertools.product(PHOTO_ADDS, adds):
        if not _core(photos[0], photo_add) or not _core(labels[0], label_add):
            continue
        if not all(_core(file, photo_add) for file in photos):
            continue
        if not all(_core(file, label_add) for file in labels):
            continue
        cores = [_renamed(file, photo_add) for file in photos]
        if sorted(cores) == sorted(_renamed(file, label_add) for file in labels):
            remark = f"photos are called {photo_add} and their labels {label_add}"
            return Paired(_match(photos, labels, tops, photo_add, label_add), remark)
    return None


def _in_any_case(photos, labels, tops) -> Paired | None:
    """The pairs if names differ in large and small letters, and nothing else is alike."""
    folded = []
    for files in (photos, labels):
        folded.append([File(f.folder.casefold(), f.stem.casefold(), f.path) for f in files])
        if len({file.name for file in folded[-1]}) < len(files):
            return None  # IMG_1 and img_1 may be two images
    names = {file.path: file.name for file in photos}
    if {file.name for file in folded[0]} == {file.name for file in folded[1]}:
        found = Paired(_match(*folded, tops, NAME, NAME), "")
    else:
        found = _by_additions(*folded, tops)
    if not found:
        return None
    pairs = [pair._replace(name=names[pair.image]) for pair in found.pairs]
    remark = "names are paired without regard to large and small letters"
    return Paired(sorted(pairs), "; ".join(filter(None, (found.remark, remark))))


def _likeliest(photos, labels):
    """The additions that pair most files, of which some have no partner."""

    def paired(adds):
        photo_add, label_add = adds
        found = {_renamed(file, photo_add) for file in photos if _core(file, photo_add)}
        return len(found & {_renamed(file, label_add) for file in labels if _core(file, label_add)})

    return max(itertools.product(PHOTO_ADDS, (NAME, *LABEL_ADDS)), key=paired)


def _match(photos, labels, tops, photo_add, label_add) -> list[Pair]:
    """Pairs of equal names within the additions, sorted; each photo and label in one."""
    by_photo = _by_name(photos, photo_add)
    by_label = _by_name(labels, label_add)
    if lone := sorted(by_photo.keys() - by_label.keys()):
        photo = by_photo[lone[0]]
        core = _core(photo, photo_add) or photo.stem
        place = _place_of_labels(photo, labels, tops)
        expected = place / f"{label_add.replace(NAME, core)}.png"
        raise UserError(
            f"{photo.path} has no label: expected {expected}{_more(lone)}{_hint(photo, labels)}"
        )
    if lone := sorted(by_label.keys() - by_photo.keys()):
        label = by_label[lone[0]]
        core = _core(label, label_add) or label.stem
        raise UserError(
            f"{label.path} has no image: expected one called {photo_add.replace(NAME, core)}"
            f"{_more(lone)}"
        )
    return sorted(
        Pair(photo.name, photo.path, by_label[name].path) for name, photo in by_photo.items()
    )


def _place_of_labels(photo, labels, tops):
    """The folder where the label of a photo should be, as those of its split or folder are."""
    top, *below = photo.folder.split("/")
    for label in labels:
        first, *inner = label.folder.split("/")
        if first == top:
            return Path(label.path.parents[len(inner)], *below)
    return tops[1] / photo.path.relative_to(tops[0]).parent


def _by_name(files, add):
    named = {}
    for file in files:
        name = _renamed(file, add) if _core(file, add) else file.name
        if name in named:
            raise UserError(
                f"{named[name].path} and {file.path} have the same name: move or rename one of "
                "them, or say by --label_pattern={name}_mask.png which files are labels"
            )
        named[name] = file
    return named


def _core(file, add):
    """The part of a file's name that {name} stands for; "" if it is not called so."""
    before, after = add.split(NAME)
    stem = file.stem
    if not (stem.startswith(before) and stem.lower().endswith(after.lower())):
        return ""
    return stem[len(before) : len(stem) - len(after)]


def _renamed(file, add):
    """Folder and core of a file's name."""
    return f"{file.folder}/{_core(file, add)}" if file.folder else _core(file, add)


def _hint(photo, labels: Sequence[File]) -> str:
    """The pattern that a label file suggests whose name holds the photo's."""
    found: Iterator[File] = (file for file in labels if photo.stem in file.stem)
    label = next(found, None)
    if label is None or label.stem == photo.stem:
        return ""
    pattern = label.path.name.replace(photo.stem, NAME, 1)
    return f"; if {label.path} is its label, give --label_pattern={pattern}"


def _more(lone):
    return f" ({len(lone) - 1} more like it)" if len(lone) > 1 else ""
