"""The archive of the Weizmann horses into the cache folder."""

from pathlib import Path

from data.reading import archives
from data.reading.archives import Part
from reseg_jax.files.download import cache_dir

URL = "https://www.msri.org/people/members/eranb/weizmann_horse_db.tar.gz"
NOTICE = (
    "Weizmann horses (Borenstein, Ullman 2002): no license is stated, use for research is assumed."
)
ADVICE = (
    "try again, or get weizmann_horse_db by hand and name the folder that holds it with --data_dir"
)


def fetch(url: str = URL, directory: Path | None = None) -> Path:
    """The folder `weizmann_horse_db`, downloaded first if it is not there.

    No checksum is published: what comes must be a tar file with both folders, no more is checked.

    Args:
      url: of the archive.
      directory: what holds the folder; default: the cache's.

    Raises:
      UserError: the download fails or is no such archive.
    """
    target = Path(directory or cache_dir() / "weizmann_horse") / "weizmann_horse_db"
    part = Part(url, archives.unpack_tar(("rgb", "figure_ground")))
    return archives.fetch(target, [part], "Weizmann horses", NOTICE, ADVICE)
