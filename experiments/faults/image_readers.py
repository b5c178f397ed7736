"""Readers of what people have: photos, label files, tables of classes, lists of splits."""

import io
import json
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

import data
from experiments.faults import materials, mutations
from experiments.faults.materials import Materials
from experiments.faults.reader import Reader, encoded, put
from reseg_jax.files.images import read_image
from reseg_jax.labels import VOID


def of(files: Materials) -> list[Reader]:
    """One of each kind."""
    labels = [_labels(files, "gray", "palette"), _labels(files, "color")]
    return [*_images(), *labels, *_tables(files), _mat()]


def _images():
    image = Image.fromarray(materials.scenes(1)[0][0])
    kinds = {
        "PNG": [image, image.convert("P"), image.convert("L"), image.convert("1")],
        "JPEG": [image, image.convert("L"), image.convert("CMYK")],
        **{kind: [image, image.convert("L")] for kind in ("TIFF", "BMP", "PPM", "WEBP")},
        "GIF": [image.convert("P")],
    }
    for kind, variants in kinds.items():
        mutation = mutations.inside_png if kind == "PNG" else mutations.mutate
        yield Reader(kind, [encoded(each, kind) for each in variants], mutation, _read_image)


def _read_image(content, folder):
    path = put(folder / "photo.png", content)
    image = read_image(path)
    return image.dtype == np.uint8 and image.ndim == 3 and image.shape[-1] == 3 and image.size > 0


def _labels(files, *kinds):
    """Masks of a dataset of one's own: the changed one is among right ones."""
    with tempfile.TemporaryDirectory(dir=files.root) as folder:
        materials.write_own(Path(folder, "own"), [kinds[0]] * 5)
        rest = {path.relative_to(folder): path.read_bytes() for path in Path(folder).rglob("*.*")}
        seeds = []
        for number, kind in enumerate(kinds):
            materials.write_own(Path(folder, f"{number}"), [kind])
            seeds.append(Path(folder, f"{number}", "labels", "photo0.png").read_bytes())

    def read(content, folder):
        for path, right in rest.items():
            put(folder / path, right)
        put(folder / "own" / "labels" / "photo0.png", content)
        examples = [
            example
            for split in ("train", "val")
            for example in _load("folder", split, folder / "own")
        ]
        values = np.unique(np.concatenate([example.label.ravel() for example in examples]))
        return len(examples) == 5 and all(value < 11 or value == VOID for value in values)

    return Reader(f"{'/'.join(kinds)} label", seeds, mutations.inside_png, read)


def _load(name, split, folder):
    return list(data.load(name, split, str(folder)))


def _tables(files):
    """Tables of classes in each of the forms that they come in."""
    content = (files.own / "classes.json").read_bytes()
    table = json.loads(content)
    colors = [",".join(map(str, color)) for color in table["palette"]]
    rows = list(zip(table["names"], colors, strict=True))
    csv = "\n".join(["name,r,g,b", *(f"{name},{color}" for name, color in rows)]).encode()
    labelmap = "\n".join(["# label:color", *(f"{name}:{color}::" for name, color in rows)]).encode()
    for name, seed, mutation in (
        ("classes.json", content, mutations.mutate_json),
        ("class_dict.csv", csv, mutations.mutate),
        ("labelmap.txt", labelmap, mutations.mutate),
    ):
        yield Reader(name, [seed], mutation, _reading_table(files, name))


def _reading_table(files, name):
    def read(content, folder):
        table = put(folder / name, content)
        images, labels = files.own / "images", files.own / "labels"
        classes = data.classes("folder", None, images=images, labels=labels, classes=table)
        return len(classes.names) == len(classes.palette) and len(classes.names) <= VOID

    return read


def _mat():
    """The split file of Oxford Flowers 17."""
    from scipy.io import savemat

    stream = io.BytesIO()
    savemat(stream, {"trn1": np.array([[1]]), "val1": np.array([[1]]), "tst1": np.array([[1]])})
    image, label = materials.scenes(1)[0]
    flower = np.zeros((*label.shape, 3), np.uint8)
    flower[4:12] = 128, 0, 0
    photo = encoded(Image.fromarray(image), "JPEG")
    trimap = encoded(Image.fromarray(flower), "PNG")

    def read(content, folder):
        put(folder / "jpg" / "image_0001.jpg", photo)
        put(folder / "trimaps" / "image_0001.png", trimap)
        put(folder / "datasplits.mat", content)
        return len(_load("oxford_flowers17", "train", folder)) == 1

    return Reader("MATLAB file", [stream.getvalue()], mutations.mutate, read)
