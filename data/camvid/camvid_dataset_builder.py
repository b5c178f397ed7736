"""CamVid for TFDS; `data.tfds_records` says how to read it."""

from data.tfds_records import Records, Version


class Builder(Records):
    """The splits that are in the folder."""

    dataset = "camvid"
    homepage = "http://mi.eng.cam.ac.uk/research/projects/VideoRec/CamVid/"
    VERSION = Version("2.0.0")
    RELEASE_NOTES = {  # noqa: RUF012
        "1.0.0": "367 training, 101 validation and 233 test frames of 480x360.",
        "2.0.0": "Void is 255 in place of 11.",
    }
