"""Photos that EXIF turns, beside label files that it does not turn; and pairs of two sizes.

A camera stores the pixels as its sensor lies and notes how to turn them. Editors show the photo
turned, many labeling tools as it is stored: a label file belongs to one of the two, and only the
sizes of a photo that is not square may tell which.
"""

from collections.abc import Sequence

from data.reading.decode import decode_all
from data.reading.headers import Header, read_header
from data.reading.layout import Pair, size_error
from reseg_jax.errors import UserError

EXIF = ("apply", "ignore")
"""Turn photos, as label files were drawn on what viewers show; or not, if on what is stored."""


def check_headers(pairs: Sequence[Pair], exif: str | None) -> None:
    """Refuses labels of another orientation or size than their photos, by the headers.

    Args:
      pairs: of all splits.
      exif: one of `EXIF`, or None if nobody said.

    Raises:
      UserError: counts the pairs that do not fit, and names the first.
    """
    headers = decode_all(lambda pair: (_header(pair.image), _header(pair.label)), pairs)
    turned, unequal = [], []
    for pair, (photo, label) in zip(pairs, headers, strict=True):
        if photo is None or label is None:
            continue  # which is an error when the pair is read
        if exif is None and _unlike(photo, label):
            turned.append((pair, photo, label))
        sizes = [header.stored if exif == "ignore" else header.upright for header in (photo, label)]
        if sizes[0] != sizes[1]:
            unequal.append((pair, *sizes))
    if turned:
        pair, photo, label = turned[0]
        which, other = ("photo", "label") if photo.orientation != 1 else ("label", "photo")
        number = max(photo.orientation, label.orientation)
        raise UserError(
            f"{len(turned)} of {len(pairs)} {which}s are turned by EXIF and the {other}s are not: "
            f"{pair.image if which == 'photo' else pair.label} has orientation {number}; give "
            "--exif=apply if labels were drawn on photos as viewers show them, or --exif=ignore if "
            "on the pixels as they are stored"
        )
    if unequal:
        pair, photo_size, label_size = unequal[0]
        raise size_error(pair, photo_size, label_size, len(unequal) - 1)


def _header(path) -> Header | None:
    try:
        return read_header(path)
    except UserError:
        return None


def _unlike(photo: Header, label: Header) -> bool:
    """Whether EXIF turns one and not the other, and sizes do not show that this is right."""
    if photo.orientation == label.orientation:
        return False
    drawn_on_what_viewers_show = photo.stored != photo.upright == label.stored
    return label.orientation != 1 or not drawn_on_what_viewers_show
