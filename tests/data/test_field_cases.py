"""Situations from people's own data: one reading of labels for all files, or one sentence.

Each case builds the dataset that it is about.
"""

import numpy as np
import pytest

import data
from reseg_jax.errors import UserError
from reseg_jax.labels import VOID
from tests.support.dataset_files import refused, write
from tests.support.folder_data import TWO, dataset, photo, truth, turned

BLACK, WHITE, RED, GREEN = (0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 255, 0)
SPLITS = [f"train/{number}" for number in range(4)] + ["val/8", "val/9"]


def masks(white=255, names=SPLITS, kind=np.uint8):
    """{name: mask of the object}."""
    return {name: (truth(int(name[-1])) * white).astype(kind) for name in names}


def read(folder, **options):
    """{split/name: label} of training and validation."""
    return {
        f"{split}/{example.name}": example.label
        for split in ("train", "val")
        for example in data.load("folder", split, folder, **options)
    }


def check(folder, expected=truth, **options):
    """Every label is the truth; returns how the reading is described."""
    found = read(folder, **options)
    for name, label in found.items():
        np.testing.assert_array_equal(label, expected(int(name[-1])), err_msg=name)
    classes = data.classes("folder", folder, **options)
    return classes.reading.describe(classes.names)


def swapped(number):
    return 1 - truth(number)


# --- black and white --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "palette", [None, [BLACK, WHITE], [BLACK, RED], [RED, GREEN], [RED, WHITE]]
)
@pytest.mark.parametrize("kind", ["8 bits", "1 bit", "RGB", "palette"])
def test_black_and_white_masks_mark_the_object(tmp_path, kind, palette):
    labels = {
        "8 bits": masks(),
        "1 bit": masks(1, kind=bool),
        "RGB": {name: np.dstack([mask] * 3) for name, mask in masks().items()},
        "palette": {name: (mask, [BLACK, WHITE]) for name, mask in masks(1).items()},
    }[kind]
    table = TWO | ({"palette": palette} if palette else {})
    described = check(dataset(tmp_path, labels, table))
    assert described == "gray levels, 0 = background, 255 = object"


@pytest.mark.parametrize("kind", [np.uint8, bool])
@pytest.mark.parametrize("palette", [[WHITE, BLACK], [WHITE, RED], [RED, BLACK]])
def test_the_palette_says_which_class_is_black(tmp_path, kind, palette):
    """An all-black mask is what black is elsewhere, also where other masks have more bits."""
    labels = masks(255 if kind is np.uint8 else 1, kind=kind)
    labels["train/3"] = np.zeros((6, 8), bool)
    labels["val/9"] = np.zeros((6, 8), np.uint8)
    folder = dataset(tmp_path, labels, {"names": ["object", "background"], "palette": palette})
    found = read(folder)
    assert (found.pop("train/3") == 1).all()
    assert (found.pop("val/9") == 1).all()
    for name, label in found.items():
        np.testing.assert_array_equal(label, swapped(int(name[-1])))


def test_255_that_the_table_calls_void_is_void(tmp_path):
    """The table of the README, copied: training then says that the object has no pixel."""
    table = TWO | {"palette": [BLACK, WHITE], "void": 255}
    found = read(dataset(tmp_path, masks(), table))
    assert set(np.unique(np.stack(list(found.values())))) == {0, VOID}


def test_palettes_in_black_and_white_count_by_color(tmp_path):
    """Tools that sort palettes by frequency turn some files' indices around."""
    labels = {name: (mask, [BLACK, WHITE]) for name, mask in masks(1).items()}
    labels["train/1"] = (swapped(1), [WHITE, BLACK])
    check(dataset(tmp_path, labels))


def test_a_mask_with_soft_edges_is_named_among_hard_ones(tmp_path):
    labels = masks()
    labels["train/2"][0, :3] = 17, 200, 17
    folder = dataset(tmp_path, labels)
    words = ("1 of 6 label files", "train/2.png", "(17, 17, 17) (2 pixels)", "(200, 200, 200) (1")
    refused("folder", "train", folder, *words, "0, 255", "soft edges")
    refused("folder", "val", folder, *words)  # the other split reads by the same rule


def test_one_and_white_in_two_halves_of_the_masks_is_a_question(tmp_path):
    labels = masks(1, SPLITS[:3]) | masks(255, SPLITS[3:])
    folder = dataset(tmp_path, labels)
    refused("folder", "train", folder, "object in two ways", "train/0.png", "train/3.png", "values")
    check(dataset(tmp_path, {}, TWO | {"values": {"0": 0, "1": 1, "255": 1}}))
    one_bit = {name: mask > 0 for name, mask in masks(1, SPLITS[:2]).items()}
    folder = dataset(tmp_path / "b", masks(255, SPLITS[2:]) | one_bit, TWO | {"void": 255})
    refused("folder", "train", folder, "object in two ways")


@pytest.mark.parametrize(("train", "val"), [(1, 255), (255, 1)])
def test_a_split_that_is_all_void_does_not_decide_how_masks_are_read(tmp_path, train, val):
    labels = {}
    for name in SPLITS:
        value = train if name.startswith("train") else val
        labels[name] = truth(int(name[-1])) if value == 1 else np.full((6, 8), VOID, np.uint8)
    found = read(dataset(tmp_path, labels))
    for name, label in found.items():
        np.testing.assert_array_equal(label, labels[name])


def test_void_beside_two_classes_is_void(tmp_path):
    labels = masks(1)
    for label in labels.values():
        label[0] = VOID

    def expected(number):
        label = truth(number)
        label[0] = VOID
        return label

    assert "255 = void" in check(dataset(tmp_path, labels), expected)


# --- palettes and colors -----------------------------------------------------------------------

THREE = {"names": ["ground", "cat", "dog"], "palette": [BLACK, RED, GREEN]}


def animals(number):
    label = np.zeros((6, 8), np.uint8)
    label[:2, : 2 + number % 4], label[4:, 3:] = 1, 2
    return label


def by_palette(palette, order, names=SPLITS):
    """Palette files in which class c has the index order[c]."""
    return {name: (np.array(order, np.uint8)[animals(int(name[-1]))], palette) for name in names}


def test_palettes_are_read_by_color_or_refused(tmp_path):
    labels = by_palette([BLACK, GREEN, RED], [0, 2, 1])
    assert check(dataset(tmp_path, labels, THREE), animals).startswith("colors, (0, 0, 0) = ground")
    off = by_palette([BLACK, GREEN, (254, 0, 0)], [0, 2, 1], SPLITS[1::2])
    folder = dataset(tmp_path, off, THREE)
    refused(
        *(
            "folder",
            "train",
            folder,
            "3 of 6 label files",
            "train/1.png",
            "the color (254, 0, 0) (",
        ),
        '"colors_in_labels": false',
    )
    dataset(tmp_path, by_palette([BLACK, GREEN, (254, 0, 0)], [0, 2, 1]), THREE)
    refused("folder", "train", folder, "6 of 6 label files")  # never by indices then


def test_transparent_palette_entries_are_refused_unless_indices_count(tmp_path):
    folder = dataset(tmp_path, by_palette([BLACK, GREEN, RED], [0, 2, 1]), THREE)
    dataset(folder, by_palette([BLACK, GREEN, RED], [0, 2, 1], SPLITS[:2]), THREE, transparency=0)
    refused("folder", "train", folder, "2 of 6 label files", "transparent palette index 0")
    drawn = THREE | {"colors_in_labels": False}
    dataset(folder, by_palette([BLACK, GREEN, RED], [0, 1, 2]), drawn, transparency=0)
    assert check(folder, animals).startswith("indices, 0 = ground")


def test_palettes_that_differ_without_colors_in_the_table_are_a_question(tmp_path):
    labels = by_palette([BLACK, GREEN, RED], [0, 2, 1])
    labels |= by_palette([BLACK, RED, GREEN], [0, 1, 2], SPLITS[1:2])
    names = {"names": THREE["names"]}
    refused("folder", "train", dataset(tmp_path, labels, names), "palettes", "index 2", "differ")
    check(dataset(tmp_path, {}, THREE), animals)
    by_index = names | {"colors_in_labels": False}
    labels = by_palette([BLACK, RED, GREEN], [0, 1, 2])
    labels |= by_palette([GREEN, BLACK, RED], [0, 1, 2], SPLITS[1:2])
    check(dataset(tmp_path / "b", labels, by_index), animals)


def test_color_files_need_a_palette(tmp_path):
    for number, channels in enumerate([(1, 1, 1), (1, 0, 0)]):
        labels = {name: np.dstack([mask * c for c in channels]) for name, mask in masks(1).items()}
        folder = dataset(tmp_path / str(number), labels)
        refused("folder", "train", folder, "no palette", "6 of 6", "train/0.png", "(0, 0, 0)")
        check(dataset(folder, {}, TWO | {"colors_in_labels": False}))
    three = {name: np.dstack([animals(int(name[-1]))] * 3) for name in SPLITS}
    folder = dataset(tmp_path / "three", three, {"names": THREE["names"]})
    refused("folder", "train", folder, "no palette")


def test_gray_files_among_colored_ones_are_what_they_show(tmp_path):
    """An optimizer of PNGs saves an all-black mask with one channel; an index there is refused."""
    colors = np.array(THREE["palette"], np.uint8)
    labels = {name: colors[animals(int(name[-1]))] for name in SPLITS}
    labels["train/1"] = np.zeros((6, 8), np.uint8)
    folder = dataset(tmp_path, labels, THREE)
    assert (read(folder)["train/1"] == 0).all()
    write(folder / "labels/train/1.png", animals(1))
    refused("folder", "train", folder, "1 of 6 label files", "(1, 1, 1)", "(2, 2, 2)")


def test_one_file_in_color_among_indices_is_the_one_that_is_named(tmp_path):
    labels = {name: animals(int(name[-1])) for name in SPLITS}
    labels["val/8"] = np.array(THREE["palette"], np.uint8)[animals(8)]
    for table in (THREE, {"names": THREE["names"], "colors_in_labels": False}):
        refused("folder", "train", dataset(tmp_path, labels, table), "1 of 6", "val/8.png")


def test_palettes_among_indices_must_say_the_same(tmp_path):
    labels = {name: animals(int(name[-1])) for name in SPLITS}
    labels |= by_palette([BLACK, RED, GREEN], [0, 1, 2], SPLITS[:1])
    check(dataset(tmp_path, labels, THREE), animals)
    dataset(tmp_path, by_palette([BLACK, GREEN, RED], [0, 2, 1], SPLITS[:1]), THREE)
    refused("folder", "train", tmp_path, "1 of 6", "train/0.png", "palette", "indices count")


def test_many_bad_files_are_counted_and_the_first_named(tmp_path):
    labels = {name: animals(int(name[-1])) for name in SPLITS}
    for name in SPLITS[:5]:
        labels[name][5, :3] = 7
    folder = dataset(tmp_path, labels, {"names": THREE["names"]})
    words = (
        "5 of 6 label files",
        "train/0.png",
        "the value 7 (3 pixels)",
        "2 more files",
        "0 to 2",
    )
    refused("folder", "train", folder, *words)


# --- void and values ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("void", "values"), [(0, [1, 2]), ([0, 1], [2, 3]), (1, [0, 2]), ([2, 255], [0, 1])]
)
def test_names_take_the_values_that_are_not_void(tmp_path, void, values):
    empty = min(void) if isinstance(void, list) else void

    def stored(number):
        label = np.array(values, np.uint8)[truth(number)]
        label[5] = empty
        label[4, 7] = 255
        return label

    def expected(number):
        label = truth(number)
        label[5] = label[4, 7] = VOID
        return label

    labels = {name: stored(int(name[-1])) for name in SPLITS}
    described = check(dataset(tmp_path, labels, TWO | {"void": void}), expected)
    assert f"{values[0]} = background, {values[1]} = object" in described
    assert f"{empty} = void" in described


def test_values_are_mapped_several_to_a_class(tmp_path):
    table = TWO | {"values": {"7": "background", "8": 1, "26": "object"}, "void": [0, 3]}
    stored = {}
    for name in SPLITS:
        stored[name] = np.array([7, 26], np.uint8)[truth(int(name[-1]))]
        stored[name][0] = 8
        stored[name][5, 0] = 3

    def expected(number):
        label = truth(number)
        label[0] = 1
        label[5, 0] = VOID
        return label

    check(dataset(tmp_path, stored, table), expected)
    stored["val/8"][2, 2] = 9
    folder = dataset(tmp_path, stored, table)
    refused("folder", "train", folder, "1 of 6", "val/8.png", "the value 9 (1 pixel)", '"values"')


def test_gray_levels_of_more_classes(tmp_path):
    """0, 127 and 255 by the palette, or by the map of values; without either a sentence."""
    levels = np.array([0, 127, 255], np.uint8)
    labels = {name: levels[animals(int(name[-1]))] for name in SPLITS}
    names = {"names": THREE["names"]}
    folder = dataset(tmp_path, labels, names)
    refused("folder", "train", folder, "6 of 6", "the value 127")
    check(dataset(folder, {}, names | {"values": {"0": 0, "127": 1, "255": 2}}), animals)
    grays = [[0, 0, 0], [127, 127, 127], [255, 255, 255]]
    check(dataset(folder, {}, names | {"palette": grays}), animals)


def test_the_tables_of_other_tools(tmp_path):
    colors = np.array(THREE["palette"], np.uint8)
    labels = {name: colors[animals(int(name[-1]))] for name in SPLITS}
    folder = dataset(tmp_path, labels, THREE)
    (folder / "classes.json").unlink()
    for end in "\n", "\r\n", "\r":  # of lines: Unix, Windows, and old Macs
        text = "name, r, g, b\nground,0,0,0\ncat,255,0,0\ndog,0,255,0\n"
        (folder / "class_dict.csv").write_bytes(text.replace("\n", end).encode())
        check(folder, animals)
    (folder / "class_dict.csv").unlink()
    text = "# label:color_rgb:parts:actions\nground:0,0,0::\ncat:255,0,0::\ndog:0,255,0::\n"
    (folder / "labelmap.txt").write_text(text)
    check(folder, animals)
    assert data.classes("folder", folder).names == ("ground", "cat", "dog")


def test_a_trained_reading_is_kept_for_files_that_do_not_tell(tmp_path):
    """Black masks only, as a test split may have: read as the run's others were."""
    table = {"names": ["object", "background"], "palette": [WHITE, BLACK]}
    reading = data.classes("folder", dataset(tmp_path / "a", masks(1, kind=bool), table)).reading
    ones = {"test/0": np.ones((6, 8), np.uint8), "test/1": np.zeros((6, 8), np.uint8)}
    other = dataset(tmp_path / "b", ones, table)
    with pytest.raises(UserError, match=r"1 of 2 label files do not fit .* gray levels"):
        data.load("folder", "test", other, reading=reading)
    assert data.load("folder", "test", other)[0].label.max() == 1  # by indices, without the run
    names = dataset(tmp_path / "c", masks(1), {"names": ["a", "b"], "colors_in_labels": False})
    assert data.classes("folder", names, reading=reading).reading.kind == "indices"


# --- photos turned by EXIF ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "orientation"), [((6, 6), 6), ((6, 8), 6), ((6, 8), 3), ((6, 8), 2), ((6, 6), 8)]
)
def test_photos_that_exif_turns_and_labels_do_not_are_refused(tmp_path, size, orientation):
    folder = turned(tmp_path, size, orientation)
    words = ("6 of 6 photos", "EXIF", f"orientation {orientation}", "--exif=apply", "--exif=ignore")
    refused("folder", "train", folder, "train/0.png", *words)
    (example, *_) = data.load("folder", "train", folder, exif="ignore")
    np.testing.assert_array_equal(example.image, photo("train/0", size))
    np.testing.assert_array_equal(example.label, truth(0, size))
    refused("folder", "train", folder, "exif='no'", "apply, ignore", exif="no")


def test_labels_drawn_on_the_turned_photo_are_right(tmp_path):
    """Sizes show it, or the user says it."""
    (example, *_) = data.load("folder", "train", turned(tmp_path / "a", (6, 8), 6, True))
    np.testing.assert_array_equal(example.image, np.rot90(photo("train/0"), -1))
    np.testing.assert_array_equal(example.label, np.rot90(truth(0), -1))
    square = turned(tmp_path / "b", (6, 6), 6, True)
    (example, *_) = data.load("folder", "train", square, exif="apply")
    np.testing.assert_array_equal(example.image, np.rot90(photo("train/0", (6, 6)), -1))
    refused("folder", "train", turned(tmp_path / "c", (6, 8), 6), "8x6", "6x8", exif="apply")


def test_sizes_that_differ_are_counted(tmp_path):
    folder = dataset(tmp_path, masks())
    for name in SPLITS[2:4]:
        write(folder / "labels" / f"{name}.png", np.zeros((3, 8), np.uint8))
    refused("folder", "val", folder, "train/2.png is 8x3", "8x6", "1 more like it")
