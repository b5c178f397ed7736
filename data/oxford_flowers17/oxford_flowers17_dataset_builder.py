"""Oxford Flowers 17 for TFDS; `data.tfds_records` says how to read it."""

from data.tfds_records import Records, Version


class Builder(Records):
    """All splits of fold 1, unlabeled pixels as background; images have their trimaps' sizes."""

    dataset = "oxford_flowers17"
    homepage = "https://www.robots.ox.ac.uk/~vgg/data/flowers/17/"
    VERSION = Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "The images of the first official split that have a trimap."}  # noqa: RUF012
