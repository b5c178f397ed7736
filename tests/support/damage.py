"""What faults leave behind: flipped bits, and files of processes that were killed."""

import os
import subprocess
import sys


def flip(path, position=0.5, bit=0):
    """Flip a bit of a file; `position` is a share of its length."""
    content = bytearray(path.read_bytes())
    content[int(position * len(content))] ^= 1 << bit
    path.write_bytes(content)


def cannot_be_read(path):
    """Have a file that nobody can open, not even the system's administrator: a link to itself."""
    path.unlink()
    path.symlink_to(path.name)


def dead_process() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-S", "-c", ""])
    process.wait()
    return process.pid


def abandoned_file(folder, process=None, name="file.npy", age=60.0):
    """A temporary file as `atomic.write_file` names them, of a dead process, `age` seconds old."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f".{name}.{process or dead_process()}.part"
    path.write_bytes(b"half")
    written = path.stat().st_mtime - age
    os.utime(path, (written, written))
    return path
