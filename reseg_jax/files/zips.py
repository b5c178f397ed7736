"""Zip archives from elsewhere: a small file does not become a large one when it is unpacked."""

import os
import zipfile

from reseg_jax.errors import UserError

MOST_MEMBERS = 100_000
"""Of an archive; CamVid's has two thousand, a network's about a hundred."""

_ALWAYS = 256 << 20  # bytes that may be unpacked whatever they were packed in
_MOST_PACKED = 20  # Weights and images shrink to a half at best; zeros to a thousandth.


class Unpacker(zipfile.ZipFile):
    """A zip archive to read from, which opens no member that is packed beyond belief.

    Reading a member gives at most the size that the archive states for it, and fails if its
    checksum is another.

    Args:
      path: the file.

    Raises:
      UserError: it has too many members, or, by `open` and `read`, what is opened is much larger
        unpacked than packed.
      Others: it is damaged, no zip archive, or encrypted (a RuntimeError).
    """

    def __init__(self, path: str | os.PathLike):
        super().__init__(path)
        self.path, self._packed, self._unpacked = path, 0, 0
        if len(self.filelist) > MOST_MEMBERS:
            self.close()
            raise UserError(f"{path} has more than {MOST_MEMBERS} members: refused")

    def open(self, name, mode="r", pwd=None, **options):
        info = name if isinstance(name, zipfile.ZipInfo) else self.getinfo(name)
        self._packed += info.compress_size
        self._unpacked += info.file_size
        if self._unpacked > max(_ALWAYS, _MOST_PACKED * self._packed):
            raise UserError(
                f"{self.path}: {info.filename} would have {info.file_size} bytes, packed in "
                f"{info.compress_size}, as nothing is that belongs there: refused"
            )
        return super().open(info, mode, pwd, **options)
