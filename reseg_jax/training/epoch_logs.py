"""metrics.jsonl and times.jsonl: a line per epoch, for people and for `experiments.results`.

Both are written anew from what the checkpoints say, in one step: no kill cuts a line, loses one or
writes one twice. Times have a file of their own: metrics are equal for equal runs, times are not.
"""

import json
import resource
import sys
from pathlib import Path

from reseg_jax.files import atomic

METRICS, TIMES = "metrics.jsonl", "times.jsonl"


def write(path: Path, records: list[dict]) -> None:
    """A line of JSON for each of `records`."""
    text = "".join(json.dumps(record) + "\n" for record in records)
    atomic.write_file(path, text.encode())


def read(path: Path) -> list[dict]:
    """The lines of a file, those left out that are no JSON objects; none if it is not there.

    Older versions appended to times.jsonl, so that a kill could leave half a line.
    """
    found = []
    for line in path.read_bytes().splitlines() if path.exists() else ():
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        found += [record] if isinstance(record, dict) else []
    return found


def peak_memory() -> int:
    """Bytes of the largest resident size that this process has had."""
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss: bytes there, kilobytes on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def times_of(
    epoch: int, images_per_second: float, train_seconds: float, val_seconds: float
) -> dict:
    """The line of times.jsonl for an epoch; what saving takes is added when it is known."""
    return {
        "epoch": epoch,
        "train_seconds": round(train_seconds, 2),
        "val_and_save_seconds": round(val_seconds, 2),
        "images_per_second": round(images_per_second, 3),
        "peak_memory_mib": round(peak_memory() / 2**20),
    }
