"""Trainings on disks that are full or may only be read, and again when there is room.

A disk is made in memory, which takes the system's administrator; anybody can have a limit on the
size of files. Permissions are tried in `damage.py`.
"""

import contextlib
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from experiments.faults.damage import fingerprint
from experiments.faults.forked import Forked
from experiments.faults.kills import Kind, kinds
from experiments.faults.materials import Materials
from experiments.faults.trials import RIGHT, SAID, SILENT, TRACEBACK, Trial, Verdict, done

_LARGEST_FILE = 24 << 10  # bytes; the largest that the tiny training writes is about as large
_DISK_KIB = (16, 320)  # a training without features takes about the latter


def trials(
    command: Forked, files: Materials, seed: str, have_disks: bool
) -> Iterator[tuple[Trial, Verdict]]:
    """One training on a disk of every kind.

    Yields:
      A trial, which only says what was done, with its verdict: for what the training said, and for
      what came of it when the disk had room.
    """
    rng = random.Random(f"disks/{seed}")
    kind = rng.choice(kinds(files))
    folder = files.root / "starved"
    shutil.rmtree(folder, ignore_errors=True)
    limit = rng.randrange(_LARGEST_FILE)
    with contextlib.ExitStack() as stack:
        what = f"files of at most {limit} bytes, {kind.name}, seed {seed}"
        yield from _starved(command, kind, folder, "limit on files", what, limit, lambda: None)
        if not have_disks:
            return
        shutil.rmtree(folder)
        size = rng.randrange(*_DISK_KIB)
        disk = stack.enter_context(mounted(folder, size))
        what = f"a disk of {size} KiB, {kind.name}, seed {seed}"
        relieve = lambda: disk("size=64m")  # noqa: E731
        yield from _starved(command, kind, folder, "full disk", what, None, relieve)
        shutil.rmtree(folder / "run")
        disk("ro")
        what = f"a disk that may only be read, {kind.name}, seed {seed}"
        relieve = lambda: disk("rw")  # noqa: E731
        yield from _starved(command, kind, folder, "read-only disk", what, None, relieve)


def may_mount(folder: Path) -> bool:
    """Whether this process may make disks; `folder` is where it tries."""
    try:
        with mounted(folder, 64):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


@contextlib.contextmanager
def mounted(folder: Path, kib: int) -> Iterator[Callable[[str], None]]:
    """A disk of `kib` KiB at `folder`, while the block runs; yields what changes its options."""
    folder.mkdir(exist_ok=True)

    def mount(*arguments):
        subprocess.run(["mount", *arguments, str(folder)], check=True, capture_output=True)

    mount("-t", "tmpfs", "-o", f"size={kib}k", "none")
    try:
        yield lambda options: mount("-o", f"remount,{options}")
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True, capture_output=True)


def _starved(command, kind: Kind, folder, name, what, limit, relieve):
    flags = kind.flags(folder / "run", folder / "features")
    finished = command.start(*flags, limit=limit).wait()
    yield done(f"disk: {name}", what), _of_refusal(finished)
    relieve()
    finished = command(*flags)
    yield done(f"disk: {name}, then room", what), _of_end(finished, kind, folder / "run")


def _of_refusal(finished):
    last = (finished.stderr.strip().splitlines() or [""])[-1]
    if finished.returncode == 0:
        return Verdict(RIGHT)  # there was room
    if finished.returncode == 1 and "Traceback" not in finished.stderr and last[:7] == "error: ":
        return Verdict(SAID, last)
    return Verdict(TRACEBACK, finished.stderr[-600:])


def _of_end(finished, kind, workdir):
    if finished.returncode:
        return Verdict(TRACEBACK, finished.stderr[-600:])
    if fingerprint(workdir) != fingerprint(kind.workdir):
        return Verdict(SILENT, "other parameters or metrics than those of a disk with room")
    return Verdict(RIGHT)
