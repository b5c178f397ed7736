"""What tests of datasets share: image files, a server of files, what a refusal says."""

import contextlib
import functools
import http.server
import importlib
import sys
import tarfile
import threading

import numpy as np
import pytest
from PIL import Image

import data
from reseg_jax.errors import UserError


def write(path, array, palette=None, **options):
    """An array as an image file, of the format that the suffix says; with a palette by indices."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(array)
    if palette is not None:
        image.putpalette(np.array(palette, np.uint8).tobytes())
    image.save(path, **options)


def pack(archive, folder):
    """A .tgz of all in `folder`, under its name."""
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, folder.name)


@contextlib.contextmanager
def serving(folder):
    """(URL of `folder`, the paths that are asked for) while the block runs."""
    requests = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            requests.append(self.path)

    handler = functools.partial(Handler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", requests
        finally:  # a server that is closed and not shut down keeps a core busy for ever
            server.shutdown()


def refused(dataset, split, data_dir, *words, **options):
    """`load` ends in one sentence that has all `words`."""
    with pytest.raises(UserError) as caught:
        data.load(dataset, split, data_dir, **options)
    assert "\n" not in str(caught.value)
    assert all(str(word) in str(caught.value) for word in words), caught.value


def records_equal(dataset, split, source, tmp_path):
    """TFDS has the names and pixels of `load`, without TensorFlow."""
    import tensorflow_datasets as tfds

    importlib.import_module(f"data.{dataset}.{dataset}_dataset_builder")  # registers the name
    records = tfds.data_source(
        dataset, split=split, data_dir=tmp_path / "prepared", builder_kwargs={"source": source}
    )
    examples = {example.name: example for example in data.load(dataset, split, source)}
    assert sorted(record["name"].decode() for record in records) == sorted(examples)
    for record in records:
        example = examples[record["name"].decode()]
        np.testing.assert_array_equal(record["image"], example.image)
        np.testing.assert_array_equal(record["label"][..., 0], example.label)
    assert "tensorflow" not in sys.modules
