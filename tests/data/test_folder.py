"""Anybody's data: layouts, the table of classes, every way to write a label, bad input by name."""

import json

import numpy as np
import pytest

import data
from data import folder as folder_dataset
from data.batches import Batches, InMemory
from reseg_jax.errors import UserError
from reseg_jax.labels import VOID
from tests.support.dataset_files import refused, write

TABLE = {
    "names": ["ground", "cat", "dog"],
    "palette": [[0, 0, 0], [255, 255, 255], [200, 0, 0]],
    "void_colors": [[224, 224, 192]],
}
LABEL = np.array([[0, 1, 2, 2], [1, 1, 0, VOID], [0, 0, 2, 1]], np.uint8)
COLORS = np.zeros((256, 3), np.uint8)
COLORS[[0, 1, 2, VOID]] = TABLE["palette"] + TABLE["void_colors"]


def image_of(name):
    """The image [3, 4, 3] called `name`."""
    return np.random.default_rng(list(name.encode())).integers(0, 256, (3, 4, 3), np.uint8)


def table(path, **changes):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(TABLE | changes))


@pytest.fixture
def mydata(tmp_path):
    """images/, labels/ and classes.json: ten undivided images in folders of their own."""
    folder = tmp_path / "mydata"
    table(folder / "classes.json")
    for number in range(10):
        name = f"trip {number % 3}/img.{number:02}"
        write(folder / "images" / f"{name}.png", image_of(name))
        write(folder / "labels" / f"{name}.png", LABEL)
    return folder


def test_a_layout_of_somebody_elses(tmp_path, monkeypatch):
    """Nested names with dots and blanks, other suffixes, other files, three places, two splits."""
    kinds = [
        ("bmp", "png", LABEL, COLORS),
        ("TIFF", "PNG", COLORS[LABEL], None),
        ("webp", "bmp", COLORS[LABEL], None),
        ("png", "tif", COLORS[LABEL], None),
        ("ppm", "gif", LABEL, COLORS),
    ]
    for split, parts in (("train", kinds), ("val", kinds[:2])):
        for number, (image_suffix, label_suffix, label, palette) in enumerate(parts):
            name = f"{split}/city one/{number}/frame.v{number}.left"
            options = {"lossless": True} if image_suffix == "webp" else {}
            write(tmp_path / "a" / f"{name}.{image_suffix}", image_of(name), **options)
            write(tmp_path / "b" / f"{name}.{label_suffix}", label, palette)
    (tmp_path / "a" / "train" / "notes.txt").write_text("not an image")
    (tmp_path / "a" / "train" / ".thumbs").mkdir()
    (tmp_path / "a" / "train" / ".thumbs" / "0.png").write_bytes(b"not an image")
    table(tmp_path / "c" / "animals.json")
    monkeypatch.chdir(tmp_path)
    options = {"images": "a", "labels": str(tmp_path / "b"), "classes": "c/animals.json"}
    for split, count in (("train", 5), ("val", 2)):
        examples = data.load("folder", split, **options)
        assert len(examples) == count
        for number, example in enumerate(examples):
            assert example.name == f"city one/{number}/frame.v{number}.left"
            np.testing.assert_array_equal(example.image, image_of(f"{split}/{example.name}"))
            np.testing.assert_array_equal(example.label, LABEL)
    assert data.classes("folder", **options).names == ("ground", "cat", "dog")
    refused("folder", "test", None, "a has no test split", "train, val", **options)


def test_one_folder_with_all_three(mydata):
    examples = data.load("folder", "train", str(mydata))
    for example in examples:
        np.testing.assert_array_equal(example.image, image_of(example.name))
        np.testing.assert_array_equal(example.label, LABEL)
    other = mydata.parent / "other.json"
    table(other, names=["a", "b", "c"])
    assert data.classes("folder", mydata).names == ("ground", "cat", "dog")
    assert data.classes("folder", mydata, classes=str(other)).names == ("a", "b", "c")


def test_undivided_images_are_shared_out_and_stay_where_they_are(mydata):
    train, val = (data.load("folder", split, mydata) for split in ("train", "val"))
    assert (len(train), len(val)) == (8, 2)
    names = {example.name for example in train} | {example.name for example in val}
    assert len(names) == 10
    assert [example.name for example in train] == sorted(example.name for example in train)
    refused("folder", "test", mydata, "no test split", "test/")
    before = {example.name for example in val}
    for part in ("images", "labels"):
        write(mydata / part / "new.png", image_of("new") if part == "images" else LABEL)
    after = {example.name for example in data.load("folder", "val", mydata)}
    assert len(before & after) >= 1


def test_a_lazy_split_gives_the_batches_of_the_loaded_one(mydata):
    for number, size in enumerate(((5, 2), (3, 9))):  # two of another size
        name = f"trip {number}/img.{number:02}.png"
        write(mydata / "images" / name, np.zeros((*size, 3), np.uint8))
        write(mydata / "labels" / name, np.ones(size, np.uint8))
    lazy, loaded = (
        Batches(source, 3, seed=1, flip=True)
        for source in (
            folder_dataset.lazy("train", mydata),
            InMemory(data.load("folder", "train", mydata)),
        )
    )
    for step in range(2 * lazy.steps_per_epoch):
        ours, theirs = lazy.batch(step), loaded.batch(step)
        assert ours.keys() == theirs.keys()
        assert all(np.array_equal(ours[key], theirs[key]) for key in ours)


def test_a_lazy_split_finds_a_broken_image_when_its_turn_comes(mydata):
    name = data.load("folder", "train", mydata)[0].name
    (mydata / "images" / f"{name}.png").write_bytes(b"not an image")
    lazy = folder_dataset.lazy("train", mydata)
    assert lazy.shape(0) == ((3, 4, 3), (3, 4))
    with pytest.raises(UserError, match=f"{name}.png"):
        lazy.get(0)
    write(mydata / "labels" / f"{name}.png", LABEL)
    (mydata / "labels" / f"{name}.png").write_bytes(b"")
    with pytest.raises(UserError, match="empty"):
        lazy.shape(0)


def one(tmp_path, label, palette=None, changes=None):
    """How `label` is read, written as it is."""
    folder = tmp_path / "one"
    table(folder / "classes.json", **(changes or {}))
    write(folder / "images" / "train" / "x.png", image_of("x"))
    write(folder / "labels" / "train" / "x.png", label, palette)
    (example,) = data.load("folder", "train", folder)
    return example.label


def test_labels_by_index_by_palette_and_by_color(tmp_path):
    for label, palette in [
        (LABEL, None),  # gray, indices
        (LABEL, COLORS),  # palette, indices and colors agree
        (COLORS[LABEL], None),  # RGB
        (np.dstack([COLORS[LABEL], np.full(LABEL.shape, 255, np.uint8)]), None),  # RGBA
    ]:
        np.testing.assert_array_equal(one(tmp_path, label, palette), LABEL)
    # A palette with colors of its own: indices count, if the table says so.
    by_index = {"colors_in_labels": False}
    np.testing.assert_array_equal(one(tmp_path, LABEL, 255 - COLORS, by_index), LABEL)
    with pytest.raises(UserError, match='"colors_in_labels": false'):
        one(tmp_path, LABEL, 255 - COLORS)
    turned = np.array([3, 0, 7])[np.where(LABEL == VOID, 0, LABEL)].astype(np.uint8)
    palette = np.zeros((256, 3), np.uint8)
    palette[[3, 0, 7]] = TABLE["palette"]  # as tools write it that keep only what is used
    expected = np.where(LABEL == VOID, 0, LABEL)
    np.testing.assert_array_equal(one(tmp_path, turned, palette), expected)


def test_a_mask_in_black_and_white_is_not_void(tmp_path):
    mask = np.where(LABEL == 1, 255, 0).astype(np.uint8)
    white = {"names": ["ground", "cat"], "palette": TABLE["palette"][:2], "void_colors": []}
    np.testing.assert_array_equal(one(tmp_path, mask, None, white), mask // 255)
    np.testing.assert_array_equal(one(tmp_path, mask > 0, None, white), mask // 255)  # 1 bit
    # With "void" in the table 255 is void.
    np.testing.assert_array_equal(one(tmp_path, mask, None, white | {"void": 255}), mask)


def test_void_by_another_value_and_by_none(tmp_path):
    label = np.where(LABEL == VOID, 9, LABEL).astype(np.uint8)
    np.testing.assert_array_equal(one(tmp_path, label, None, {"void": 9}), LABEL)
    with pytest.raises(UserError, match="value 9"):
        one(tmp_path, label)


def test_without_a_palette_colors_are_made_up(mydata):
    (mydata / "classes.json").write_text('{"names": ["a", "b", "c"]}')
    classes = data.classes("folder", mydata)
    assert len(set(classes.palette)) == 3
    assert classes.void == VOID
    np.testing.assert_array_equal(data.load("folder", "train", mydata)[0].label, LABEL)


def test_files_that_do_not_fit_are_named(mydata):
    name = data.load("folder", "train", mydata)[0].name
    label, image = mydata / "labels" / f"{name}.png", mydata / "images" / f"{name}.png"
    good = label.read_bytes()
    stray = COLORS[LABEL]
    stray[1, 2] = 1, 2, 3
    for content, words in [
        (LABEL[:2], ("4x2", "4x3", image)),
        (np.where(LABEL == 1, 3, LABEL), ("value 3", "0 to 2")),
        (stray, ("color (1, 2, 3)", "table")),
    ]:
        write(label, content)
        refused("folder", "train", mydata, label, *words)
    label.write_bytes(good[:40])
    refused("folder", "train", mydata, label, "damaged")
    label.unlink()
    refused("folder", "train", mydata, image, "no label", label)
    refused("folder", "val", mydata, image, "no label")
    write(label.with_suffix(".jpg"), COLORS[LABEL])
    refused("folder", "train", mydata, label.with_suffix(".jpg"), "JPEG")
    label.with_suffix(".jpg").rename(label.with_name("lone.jpg"))
    write(label, LABEL)
    refused("folder", "train", mydata, "lone.jpg", "no image")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{names", ["no JSON"]),
        ("[1, 2]", ['{"names"']),
        ('{"palette": []}', ['{"names"']),
        ('{"names": ["a", "b"], "colors": []}', ['"void_colors"']),
        ('{"names": "ab"}', ['"names"']),
        ('{"names": ["a"]}', ['"names"', "2 to 255"]),
        ('{"names": ["a", "a"]}', ['"names"', "different"]),
        ('{"names": ["a", "b"], "palette": [[0, 0, 0]]}', ["2 colors"]),
        ('{"names": ["a", "b"], "palette": [[0, 0, 0], [0, 0, 0]]}', ["different"]),
        ('{"names": ["a", "b"], "palette": [[0, 0, 0], [0, 0, 256]]}', ['"palette"', "0 to 255"]),
        ('{"names": ["a", "b"], "palette": "red"}', ['"palette"']),
        ('{"names": ["a", "b"], "void_colors": 7}', ['"void_colors"']),
        ('{"names": ["a", "b"], "void": "none"}', ['"void"', "0 to 255"]),
        ('{"names": ["a", "b"], "void": [1, 256]}', ['"void"', "0 to 255"]),
        ('{"names": ["a", "b"], "void": []}', ['"void"', "a list"]),
        ('{"names": ["a", "b"], "names": ["c", "d"]}', ['"names"', "twice"]),
        ('{"names": ["a", ""]}', ['"names"', "empty"]),
        ('{"names": ["a", "\\ud800x"]}', ['"names"', "\\ud800x", "cannot be printed"]),
        ('{"names": ["a", 3]}', ['"names"', "texts"]),
        ('{"names": ["a", "b"], "values": {"x": "a"}}', ['"values"', '"x"', "255"]),
        ('{"names": ["a", "b"], "values": {"7": "c"}}', ['"values"', '"c"', "none of"]),
        ('{"names": ["a", "b"], "values": {"7": "a"}}', ['"values"', "no value for", "'b'"]),
        ('{"names": ["a", "b"], "values": {"1": 0, "2": 1}, "void": 1}', ["each value once"]),
        ('{"names": ["a", "b"], "colors_in_labels": true}', ['no "palette"']),
        ('{"names": ["a", "b"], "colors_in_labels": 1}', ["true or false"]),
        ("[" * 100_000, ["no JSON"]),
    ],
)
def test_a_wrong_table_is_refused_with_an_example(mydata, text, words):
    (mydata / "classes.json").write_text(text)
    refused("folder", "train", mydata, mydata / "classes.json", *words, '{"names": ["background"')


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("class_dict.csv", "road,1,2,3\n", ["name,r,g,b"]),
        ("class_dict.csv", "name,r,g,b\na,1,2,3\nb,1,x,3\n", ["'b'", "1,x,3"]),
        ("class_dict.csv", "name,r,g,b\na,1,2,3\nb,1,2\n", ["0 to 255"]),
        ("class_dict.csv", "\n", ["name,r,g,b"]),
        ("class_dict.csv", "name,r,g,b\n" + "a" * 200_000 + ",1,2,3\n", ["no CSV"]),
        ("labelmap.txt", "a:1,2,3::\nb\n", ["cat:255,0,0::", "'b'"]),
    ],
)
def test_a_wrong_table_of_another_tool_is_refused(mydata, name, text, words):
    (mydata / "classes.json").unlink()
    (mydata / name).write_text(text)
    refused("folder", "train", mydata, mydata / name, *words, '{"names": ["background"')


def test_places_that_are_missing_are_named(mydata, tmp_path):
    refused("folder", "train", None, "--data_dir", "--images", "--labels", "--classes")
    refused("folder", "train", None, "no labels", images="a", classes="b")
    (mydata / "classes.json").unlink()
    refused("folder", "train", mydata, mydata / "classes.json", "does not exist")
    table(mydata / "classes.json")
    refused("folder", "train", mydata, tmp_path / "none", "not there", images=tmp_path / "none")
    (mydata / "labels").rename(mydata / "truth")
    refused("folder", "train", mydata, mydata / "labels", "not there")
    assert len(data.load("folder", "train", mydata, labels=mydata / "truth")) == 8


def test_one_image_cannot_be_divided(tmp_path):
    table(tmp_path / "classes.json")
    write(tmp_path / "images" / "x.png", image_of("x"))
    write(tmp_path / "labels" / "x.png", LABEL)
    refused("folder", "train", tmp_path, "one image")


def test_options_are_texts_of_flags():
    texts = ["images=a b/c", "classes=x=y.json"]
    assert data.parse_options(texts) == {"images": "a b/c", "classes": "x=y.json"}
    for text in ("images", "=a", "images="):
        with pytest.raises(UserError, match=f"--data_options={text}: write name=value"):
            data.parse_options([text])
    refused("folder", "train", None, "folder has no option 'fold'", "images, labels", fold="1")
    refused("toy", "train", None, "toy has no option 'images'", "it has none", images="a")
