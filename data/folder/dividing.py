"""Who divides the images: folders called train, val and test, lists of names, or a draw.

Folders that may be splits but are called otherwise are a question to the user: images that
somebody has put aside for validation are never mixed with the others.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from data.example import SPLITS
from data.reading.layout import Pair
from reseg_jax.errors import UserError
from reseg_jax.files.atomic import read_file

VAL_SHARE = 0.2  # of images that nobody has divided; our choice
SEED = 2016  # of that division; the year of the paper

SPELLINGS = {
    "train": re.compile(r"(train|training|trn)(20\d\d)?", re.I),
    "val": re.compile(r"(val|valid|validation|validate)(20\d\d)?", re.I),
    "test": re.compile(r"(test|testing|tst)(20\d\d)?", re.I),
}
"""What split folders and lists are called; with the year in MS COCO."""

LOOKS_LIKE = re.compile(
    r"(train|training|trn|val|valid|validation|validate|test|testing|tst|trainval|dev|eval"
    r"|evaluation|hold[_-]?out|held[_-]?out|fold|split)([\W_\d].*)?",
    re.I,
)
"""Names of folders that may be splits."""


def split_of(name: str) -> str | None:
    """The split that a folder or list of this name is, or None."""
    return next((split for split, known in SPELLINGS.items() if known.fullmatch(name)), None)


def by_folder(folder: Path, files: Sequence[Path]) -> dict[str, list[Path]] | None:
    """{split: its files} by the folders right below `folder`; None if none of them is a split.

    Args:
      folder: for messages.
      files: paths below it.

    Returns:
      Paths below `folder`, as they are; under "" those that are in no split.

    Raises:
      UserError: two folders are the same split, or folders look like splits and are none.
    """
    tops = {file.parts[0]: split_of(file.parts[0]) for file in files if len(file.parts) > 1}
    named = {}
    for top, split in tops.items():
        if split in named:
            raise UserError(
                f"{folder} holds {named[split]} and {top}, which both look like the {split} split: "
                "put the images of one split into one folder"
            )
        if split:
            named[split] = top
    if not named:
        return None
    divided = {split: [] for split in SPLITS if split in named}
    outside = []
    for file in files:
        split = tops[file.parts[0]] if len(file.parts) > 1 else None
        (divided[split] if split else outside).append(file)
    refuse_likeness(folder, outside)
    return divided | {"": outside}


def refuse_likeness(folder: Path, files: Sequence[Path]) -> None:
    """Refuses folders that look like splits, and file names that do, for nobody to mix them.

    Args:
      folder: for messages.
      files: paths below it that are in no split.

    Raises:
      UserError: asks for folders or lists.
    """
    for file in files:
        for part in file.parts[:-1]:
            if LOOKS_LIKE.fullmatch(part):
                raise UserError(
                    f"{folder / file} lies in a folder {part}, which looks like a split: call the "
                    f"folders right below {folder} train, val and test, list names in train.txt "
                    f"and val.txt, or rename {part} if it is no split"
                )
    _refuse_split_names(folder, files)


def _refuse_split_names(folder, files):
    """A flat folder of train_1.jpg, val_1.jpg, ...: divided by names, which nobody reads."""
    found = {}
    for file in files:
        split = split_of(re.split(r"[\W_\d]", file.stem, maxsplit=1)[0])
        if split is None:
            return
        found.setdefault(split, file)
    if len(found) > 1:
        raise UserError(
            f"the names of the files in {folder} look like splits, as "
            f"{' and '.join(str(file) for file in found.values())}: put them into folders "
            f"{', '.join(found)}, or list the names in {', '.join(f'{name}.txt' for name in found)}"
        )


def find_lists(folders: Sequence[Path]) -> dict[str, Path]:
    """{split: the file of its names} in the first of `folders` that holds any.

    Raises:
      UserError: a split has two.
    """
    for folder in folders:
        found = {}
        for path in sorted(folder.glob("*.txt")) if folder.is_dir() else ():
            split = split_of(path.stem)
            if split in found:
                raise UserError(f"{found[split]} and {path} both list the {split} split: keep one")
            if split:
                found[split] = path
        if found:
            return {split: found[split] for split in SPLITS if split in found}
    return {}


def by_lists(pairs: Sequence[Pair], lists: Mapping[str, Path]) -> tuple[dict[str, list[Pair]], str]:
    """{split: its pairs} as files list their names, and a remark on what is in no list.

    Args:
      pairs: all there are.
      lists: {split: file}, a name a line: a path below the images' folder, or only the file name,
        with or without suffix; what follows a blank (the label, in many lists) is passed over.

    Raises:
      UserError: a name is not there or could be two images, or is in two lists.
    """
    by_name = {pair.name: pair for pair in pairs}
    by_stem = {}
    for pair in pairs:
        by_stem.setdefault(Path(pair.name).name, []).append(pair)
    divided, owner = {}, {}
    for split, path in lists.items():
        text = read_file(path).decode("utf-8-sig", "surrogateescape")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        chosen = {}
        for line in lines:
            pair = _find(line, by_name, by_stem)
            if pair is None:
                raise UserError(f"{path} lists {line!r}, which is no image, or several: mend it")
            if owner.setdefault(pair.name, split) != split:
                raise UserError(
                    f"{path} lists {pair.name}, and {lists[owner[pair.name]]} too: an image can be "
                    "in one split only"
                )
            chosen[pair.name] = pair
        divided[split] = [chosen[name] for name in sorted(chosen)]
    left = len(pairs) - len(owner)
    names = ", ".join(str(path) for path in lists.values())
    return divided, f"split by {names}" + (f"; {left} images are in no list" if left else "")


def _find(line, by_name, by_stem):
    for text in (line, line.split()[0]):
        parts = Path(text).parts
        for begin in range(len(parts)):
            path = Path(*parts[begin:])
            for name in (path.as_posix(), path.with_suffix("").as_posix()):
                if name in by_name:
                    return by_name[name]
        for stem in (Path(text).name, Path(text).stem):
            if len(by_stem.get(stem, ())) == 1:
                return by_stem[stem][0]
    return None


def by_draw(pairs: Sequence[Pair], folder: Path) -> dict[str, list[Pair]]:
    """A training and a validation share; an image more or less moves few others.

    Raises:
      UserError: there are fewer than two.
    """
    if len(pairs) < 2:
        raise UserError(f"{folder} holds one image: training and validation need one each")

    def draw(pair):
        return hashlib.sha256(f"{SEED}/{pair.name}".encode("utf-8", "surrogateescape")).digest()

    count = max(1, round(VAL_SHARE * len(pairs)))
    drawn = sorted(pairs, key=draw)
    return {"train": sorted(drawn[count:]), "val": sorted(drawn[:count])}
