"""Every reader of files from elsewhere."""

from experiments.faults import archive_readers, image_readers, run_readers, weight_readers
from experiments.faults.materials import Materials
from experiments.faults.reader import Reader


def of_files(files: Materials) -> list[Reader]:
    """The readers of what people have, and of saved networks."""
    return [*image_readers.of(files), *weight_readers.of(files), *archive_readers.of()]


def of_runs(files: Materials) -> list[Reader]:
    """The readers of what training wrote, once it has."""
    return run_readers.of(files)
