"""CamVid: layouts, pairing, each bad input, TFDS, and the published counts."""

import numpy as np
import pytest

import data
from data.camvid import CLASSES, files
from reseg_jax.errors import UserError
from reseg_jax.labels import VOID
from tests.support.camvid_files import FRAMES, draw, small_camvid
from tests.support.dataset_files import records_equal, refused, write

pytestmark = pytest.mark.usefixtures("no_data_at_hand")


@pytest.fixture
def folder(tmp_path):
    return small_camvid(tmp_path)


def test_classes_are_camvids_own():
    assert len(CLASSES.names) == 11
    assert (CLASSES.names[0], CLASSES.names[3], CLASSES.names[10]) == ("sky", "road", "bicyclist")
    colors = dict(zip(CLASSES.names, CLASSES.palette, strict=True))
    assert colors["sidewalk"] == (0, 0, 192)  # not SegNet's (60, 40, 222)
    assert colors["bicyclist"] == (0, 128, 192)
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


def test_labels_in_colors(folder):
    write(folder / "trainannot" / "a_1.png", draw("a_1")[0])
    refused("camvid", "train", folder, folder / "trainannot" / "a_1.png", "the color")


def test_broken_files(folder):
    image = folder / "train" / "b_2.png"
    whole = image.read_bytes()
    image.write_bytes(whole[: len(whole) // 2])
    refused("camvid", "train", folder, image)
    image.write_bytes(b"")
    refused("camvid", "train", folder, image, "empty")


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
    [  # % of labeled pixels by class and of all pixels for void, counted independently
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
