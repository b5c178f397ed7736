"""The three files of Oxford Flowers 17 into the cache folder."""

import shutil
from pathlib import Path

from data.reading import archives
from data.reading.archives import Part
from reseg_jax.files.download import cache_dir

URL = "https://www.robots.ox.ac.uk/~vgg/data/flowers/17/"
NOTICE = (
    "Oxford Flowers 17 (Nilsback, Zisserman 2006): photographs from the web without a stated "
    "license, use for research is assumed."
)
ADVICE = (
    "try again, or put jpg/ of 17flowers.tgz, trimaps/ of trimaps.tgz and datasplits.mat into one "
    "folder by hand and name it with --data_dir"
)

CHECKS = {
    # MD5 as four loaders in use have them; of the trimaps only the size is known.
    "17flowers.tgz": {"md5": "b59a65d8d1a99cd66944d474e1289eab"},
    "trimaps.tgz": {"size": 3_915_787},
    "datasplits.mat": {"md5": "4828cddfd0d803c5abbdebcb1e148a1e"},
}


def fetch(url: str = URL, directory: Path | None = None, checks: dict | None = None) -> Path:
    """The folder `flowers17`, downloaded first if it is not there.

    Args:
      url: of the folder with the three files.
      directory: what holds the folder; default: the cache's.
      checks: {file: arguments of `reseg_jax.files.download.download`}; default `CHECKS`.

    Raises:
      UserError: a download fails or is not the published file.
    """
    checks = CHECKS if checks is None else checks
    unpack = {
        "17flowers.tgz": archives.unpack_tar(("jpg",)),
        "trimaps.tgz": archives.unpack_tar(("trimaps",)),
        "datasplits.mat": lambda file, folder: shutil.copy(file, folder / "datasplits.mat"),
    }
    parts = [Part(url + name, unpack[name], checks.get(name, {})) for name in unpack]
    target = Path(directory or cache_dir() / "oxford_flowers17") / "flowers17"
    return archives.fetch(target, parts, "Oxford Flowers 17", NOTICE, ADVICE)
