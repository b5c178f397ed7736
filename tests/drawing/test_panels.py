"""Pictures of labels against pictures worked out by hand."""

import numpy as np
import pytest

from reseg_jax.drawing import panels
from reseg_jax.drawing.legend import BACKGROUND, draw_legend
from reseg_jax.errors import UserError
from reseg_jax.files.images import read_image
from reseg_jax.labels import VOID, Classes

RED, GREEN, BLUE = (200, 0, 0), (0, 200, 0), (0, 0, 200)
CLASSES = Classes(("road", "sky", "pedestrian"), (RED, GREEN, BLUE))
IMAGE = np.full((2, 2, 3), 100, np.uint8)
TRUTH = np.array([[0, 1], [1, VOID]], np.uint8)
PREDICTION = np.array([[0, 0], [1, 2]], np.uint8)


def colors(picture):
    return {tuple(pixel) for pixel in np.reshape(picture, (-1, 3)).tolist()}


def test_labels_in_color_with_void_black():
    np.testing.assert_array_equal(
        panels.colorize(TRUTH, CLASSES), [[RED, GREEN], [GREEN, (0, 0, 0)]]
    )


@pytest.mark.parametrize(
    ("opacity", "red", "green", "void"),
    [
        (0.0, (100, 100, 100), (100, 100, 100), 100),
        (0.25, (125, 75, 75), (75, 125, 75), 75),
        (1, RED, GREEN, 0),
    ],
)
def test_the_photo_is_tinted_and_void_darkened(opacity, red, green, void):
    tinted = panels.blend(IMAGE, TRUTH, CLASSES, opacity)
    assert tinted.dtype == np.uint8
    np.testing.assert_array_equal(tinted, [[red, green], [green, (void,) * 3]])


def test_an_overlay_is_the_tinted_photo_with_a_legend_below():
    image, labels = np.full((40, 300, 3), 100, np.uint8), np.zeros((40, 300), np.uint8)
    labels[:, 150:] = 1
    picture = panels.overlay(image, labels, CLASSES)
    np.testing.assert_array_equal(picture[:40], panels.blend(image, labels, CLASSES))
    assert picture.shape[1] == 300
    assert {RED, GREEN, BACKGROUND} <= colors(picture[40:])
    assert BLUE not in colors(picture[40:])  # no pedestrian in it


def test_a_large_photo_keeps_its_size_and_has_the_legend_over_its_bottom():
    image, labels = np.full((200, 300, 3), 100, np.uint8), np.zeros((200, 300), np.uint8)
    picture = panels.overlay(image, labels, CLASSES)
    tinted = panels.blend(image, labels, CLASSES)
    assert picture.shape == image.shape
    np.testing.assert_array_equal(picture[:150], tinted[:150])
    assert picture[-10:].mean() > tinted[-10:].mean() + 50  # the legend has a light background


def test_an_overlay_is_as_wide_as_the_longest_name():
    picture = panels.overlay(IMAGE, PREDICTION, CLASSES)
    np.testing.assert_array_equal(picture[:2, :2], panels.blend(IMAGE, PREDICTION, CLASSES))
    assert colors(picture[:2, 2:]) == {BACKGROUND}
    legend = picture[2:]
    assert {RED, BLUE} <= colors(legend)
    ink = np.flatnonzero((legend != 255).any(axis=(0, 2)))
    assert ink[0] > 0 and ink[-1] < picture.shape[1] - 1  # no name is cut off


def test_a_legend_wraps_to_its_width():
    entries = list(zip(CLASSES.names, CLASSES.palette, strict=True))
    one_row, rows = draw_legend(entries, 400), draw_legend(entries, 90)
    assert one_row.shape[1] == 400
    assert len(rows) > 2 * len(one_row)
    assert {RED, GREEN, BLUE} <= colors(rows)


def test_predicted_void_is_black_wherever_it_is_drawn():
    """And named so in the legend, which is wider with the name than without."""
    image, labels = np.full((200, 300, 3), 100, np.uint8), np.zeros((200, 300), np.uint8)
    labels[:100, :150] = VOID
    assert colors(panels.colorize(labels, CLASSES)) == {RED, (0, 0, 0)}
    picture = panels.overlay(image, labels, CLASSES)
    assert colors(picture[:100, :150]) == {(50, 50, 50)}
    legend = draw_legend([("road", RED), ("void", (0, 0, 0))], 300)
    expected = 0.2 * panels.blend(image, labels, CLASSES)[-len(legend) :] + 0.8 * legend
    np.testing.assert_array_equal(picture[-len(legend) :], expected.astype(np.uint8))
    prediction = np.full((2, 2), VOID, np.uint8)
    found = panels.errors(IMAGE, TRUTH, prediction)
    assert (found == panels.WRONG).all(axis=2).sum() == 3  # wrong wherever there is a truth
    assert panels.four_panel(IMAGE, TRUTH, prediction, CLASSES).shape[2] == 3


def test_gray_goes_from_black_to_white():
    found = panels.gray(np.float32([[0, 0.5], [0.2, 1 + 1e-6]]))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, [[0, 128], [51, 255]])


def test_errors_are_red_void_black_and_the_rest_gray():
    image = np.array([[(100, 100, 100), (0, 0, 0)], [(0, 0, 255), (9, 9, 9)]], np.uint8)
    # 64 + gray / 2, and blue is 0.114 * 255 = 29.07 bright.
    expected = [[(114, 114, 114), panels.WRONG], [(78, 78, 78), (0, 0, 0)]]
    np.testing.assert_array_equal(panels.errors(image, TRUTH, PREDICTION), expected)


def test_four_panels_hold_each_pixel_as_a_square():
    """Each 2x2 panel is enlarged 160-fold to 320 pixels, the least width of a panel."""
    picture = panels.four_panel(IMAGE, TRUTH, PREDICTION, CLASSES)

    def count(half, color):
        return (half == color).all(axis=2).sum()

    square = 160 * 160
    height = len(picture) // 2
    assert square <= count(picture[:height, picture.shape[1] // 2 :], RED) < 1.1 * square
    lower = picture[height:]
    left, right = np.array_split(lower, 2, axis=1)
    assert 2 * square <= count(left, RED) < 2.1 * square  # of the prediction
    assert square <= count(left, BLUE) < 1.1 * square
    assert count(right, panels.WRONG) == square  # one wrong pixel of three labeled ones
    assert count(right, (0, 0, 0)) >= square  # void


def test_a_panel_without_a_labeled_pixel_can_be_drawn():
    void = np.full((2, 2), VOID, np.uint8)
    assert panels.four_panel(IMAGE, void, PREDICTION, CLASSES).shape[2] == 3


def test_panels_are_written_by_name(tmp_path):
    examples = [(name, IMAGE, TRUTH, PREDICTION) for name in ("a", "b")]
    paths = panels.write_panels(tmp_path / "new", examples, CLASSES)
    assert [path.name for path in paths] == ["a_panels.png", "b_panels.png"]
    expected = panels.four_panel(IMAGE, TRUTH, PREDICTION, CLASSES)
    np.testing.assert_array_equal(read_image(paths[1]), expected)


def test_pictures_cannot_be_written_below_a_file(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot write .*a_panels\.png"):
        panels.write_panels(tmp_path / "file", [("a", IMAGE, TRUTH, PREDICTION)], CLASSES)


def test_default_classes_have_names_and_distinct_colors():
    classes = panels.default_classes(21)
    assert classes.names[:2] == ("class 0", "class 1")
    palette = np.array(classes.palette)
    assert palette.shape == (21, 3) and palette.min() >= 0 and palette.max() <= 255
    distances = np.abs(palette[:, None] - palette[None]).sum(axis=2) + 999 * np.eye(21)
    assert distances.min() > 20
    assert (palette.sum(axis=1) > 100).all()  # none is taken for void
