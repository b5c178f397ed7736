"""Weizmann horses for TFDS; `data.tfds_records` says how to read them."""

from data.tfds_records import Records, Version


class Builder(Records):
    """All splits; images have the size of their masks."""

    dataset = "weizmann_horse"
    homepage = "https://www.msri.org/people/members/eranb/"
    VERSION = Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Of 328 horses 200, 28 and 100, as splits.txt lists them."}  # noqa: RUF012
