"""Files that are almost right, for every reader: the right thing or one sentence, and soon.

Each file is written by its own library, then damaged at random places with a fixed seed, in the
ways that disks, transfers and attackers do.
"""

import io
import json
import tarfile
import time
import zipfile

import jax
import numpy as np
import pytest
from PIL import Image, features

import reseg_jax
from data.reading import archives
from reseg_jax import saving
from reseg_jax.backbones import readers
from reseg_jax.errors import UserError
from reseg_jax.files import config_json, torch_files
from reseg_jax.files.images import decode_image
from reseg_jax.files.json_files import parse_json
from reseg_jax.inference import proposals
from reseg_jax.labels import Classes
from tests.support import tiny, vgg_files
from tests.support.goldens import GOLDENS

COUNT = 200  # files of each kind
LONGEST = 10  # seconds for one
RNG = np.random.default_rng(18)


def flip(data, rng):
    data[rng.integers(len(data))] ^= 1 << rng.integers(8)


def cut(data, rng):
    del data[rng.integers(len(data)) :]


def zeros(data, rng):
    begin = rng.integers(len(data))
    data[begin : begin + rng.integers(1, 65)] = bytes(min(64, len(data) - begin))


def huge(data, rng):
    """Sizes and offsets become the largest that there are."""
    begin, width = rng.integers(len(data)), rng.choice([1, 2, 4, 8])
    data[begin : begin + width] = b"\xff" * width


def insert(data, rng):
    begin = rng.integers(len(data))
    data[begin:begin] = rng.bytes(rng.integers(1, 9))


def repeat(data, rng):
    begin, end = sorted(rng.integers(len(data), size=2))
    data[end:end] = data[begin:end]


MUTATIONS = (flip, flip, cut, zeros, huge, huge, insert, repeat)


def mutated(content, seed):
    """`COUNT` damaged copies."""
    rng = np.random.default_rng(seed)
    for _ in range(COUNT):
        data = bytearray(content)
        for mutation in rng.choice(MUTATIONS, rng.integers(1, 4)):
            if data:
                mutation(data, rng)
        yield bytes(data)


def check(read, content, accepted=None):
    """`read` gives something, or a UserError of one line, for each copy and within seconds."""
    done, refused = 0, 0
    for data in mutated(content, len(content)):
        began = time.monotonic()
        try:
            found = read(data)
        except UserError as error:
            assert "\n" not in str(error) and str(error)
            refused += 1
        else:
            done += 1
            assert accepted is None or accepted(found)
        assert time.monotonic() - began < LONGEST
    assert refused and done + refused == COUNT


# --- images ---------------------------------------------------------------------------------------

NOISE = RNG.integers(0, 256, (12, 17, 3), np.uint8)
FORMATS = ["PNG", "JPEG", "TIFF", "BMP", "GIF", "PPM", "TGA"]
FORMATS += [name for name in ("WEBP", "AVIF") if features.check(name.lower())]
FORMATS += ["JPEG2000"] if features.check("jpg_2000") else []


def is_photo(image):
    return image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3 and image.size


@pytest.mark.filterwarnings("ignore")  # Pillow's, of metadata
@pytest.mark.parametrize("format_", FORMATS)
def test_images(format_):
    stream = io.BytesIO()
    Image.fromarray(NOISE).save(stream, format_)
    name = f"photo.{format_.lower()}"
    if format_ in ("BMP", "PPM", "TGA", "JPEG", "GIF", "WEBP", "JPEG2000"):
        assert is_photo(decode_image(stream.getvalue(), name))  # the undamaged one
    check(lambda data: decode_image(data, name), stream.getvalue(), is_photo)


# --- weights --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def path_of(tmp_path_factory):
    """`path_of(suffix)`: where to put a file of this kind."""
    folder = tmp_path_factory.mktemp("mutated")
    return lambda suffix: folder / f"file{suffix}"


def through(read, path):
    def of_content(data):
        path.write_bytes(data)
        return read(path)

    return of_content


def is_tree(found):
    tree, _ = found
    return all(np.isfinite(layer["kernel"]).all() for layer in tree.values())


@pytest.mark.parametrize("name", vgg_files.FORMATS)
def test_weights_of_every_format(path_of, monkeypatch, name):
    monkeypatch.setattr(readers, "KERNEL_SHAPES", vgg_files.SMALL)
    write, suffix, _ = vgg_files.FORMATS[name]
    path = path_of(suffix)
    write(path, vgg_files.random_layers("conv1_1", "fc6"))
    check(through(readers.load_vgg, path), path.read_bytes(), is_tree)


@pytest.mark.parametrize("name", ["torch_zip.pth", "torch_legacy.pth"])
def test_torchs_files(path_of, name):
    content = (GOLDENS / name).read_bytes()
    check(through(torch_files.read_torch, path_of(".pth")), content)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_saved_networks(path_of, monkeypatch, save):
    variables = reseg_jax.init(tiny.CONFIG, jax.random.key(0))
    path = path_of(".npz")
    reseg_jax.save(path, tiny.CONFIG, variables, classes=CLASSES)
    with np.load(path) as file:
        arrays = dict(file)
    save(path, **arrays)
    check(through(saving.read, path), path.read_bytes(), lambda found: found.config)


# --- texts and archives ---------------------------------------------------------------------------

CLASSES = Classes(("ground", "thing"), ((0, 0, 0), (255, 255, 255)))


def test_configs_as_json():
    text = json.dumps(saving.config_to_dict(tiny.CONFIG)).encode()
    check(lambda data: saving.config_from_dict(parse_json(data, "run.json")), text)


def test_classes_as_json():
    text = json.dumps(config_json.to_dict(CLASSES)).encode()
    check(lambda data: saving.classes_from_dict(parse_json(data, "run.json")), text)


def test_boxes_as_json(path_of):
    text = json.dumps({"frame0": [[0, 0, 24, 20], [3, 4, 9, 8]], "frame1": [[1, 1, 2, 2]]}).encode()
    check(through(proposals.read, path_of(".json")), text)


@pytest.mark.parametrize(
    "values",
    [
        *([], 3, "text", {}, {"names": 1, "palette": []}, {"names": ["a"], "palette": 3}),
        *({"names": "ab", "palette": [[0, 0, 0]] * 2}, {"names": ["a"], "palette": [[0, 0]]}),
        *({"names": ["a"], "palette": [[0, 0, 0.5]]}, {"names": [1], "palette": [[0, 0, 0]]}),
        *({"names": {}, "palette": {}}, {"names": ["a"], "palette": [[0, 0, 0]], "void": "x"}),
        {"names": ["a"] * 1000, "palette": None},
    ],
    ids=str,
)
def test_classes_of_wrong_types(values):
    with pytest.raises(UserError) as caught:
        saving.classes_from_dict(values)
    assert len(str(caught.value)) < 300


def tar():
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz", format=tarfile.PAX_FORMAT) as archive:
        for index in range(3):
            info = tarfile.TarInfo(f"set/rgb/{'é' * 120}{index}.png")
            info.size = 500
            archive.addfile(info, io.BytesIO(RNG.bytes(500)))
    return stream.getvalue()


def test_tar_files(path_of, tmp_path):
    unpack = archives.unpack_tar(("rgb",))

    def read(path):
        try:
            return unpack(path, tmp_path)
        except archives.BROKEN as error:
            raise UserError("broken") from error

    check(through(read, path_of(".tar.gz")), tar())
    assert all(path.parent.name == "rgb" for path in tmp_path.rglob("*.png"))


def test_a_zip_bomb_is_no_network(path_of):
    """4 GB of zeros in 4 MB, under the name of a parameter."""
    path = path_of(".npz")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        text = io.BytesIO()
        np.lib.format.write_array(text, np.array(json.dumps(saving.config_to_dict(tiny.CONFIG))))
        file.writestr("config.npy", text.getvalue())
        header = io.BytesIO()
        descr = {"descr": "<f4", "fortran_order": False, "shape": (64 << 20,)}
        np.lib.format.write_array_header_1_0(header, descr)
        with file.open("classifier/kernel.npy", "w") as member:
            member.write(header.getvalue())
            for _ in range(256):
                member.write(bytes(1 << 20))
    with pytest.raises(UserError, match=r"file\.npz"):
        saving.read(path)
