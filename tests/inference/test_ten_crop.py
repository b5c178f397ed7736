"""Ten crops: where they are, and their mean taken by hand."""

import numpy as np

from reseg_jax.inference import ten_crop
from tests.support.networks import images_of


def as_numbers(images):
    return images.astype(np.float32)


def test_crops_are_the_corners_and_the_center():
    found = {
        (rows.start, rows.stop, columns.start, columns.stop)
        for rows, columns in (ten_crop.five_crops((256, 320)))
    }
    # 224 of 256 and 280 of 320 pixels
    corners = {(0, 224, 0, 280), (0, 224, 40, 320), (32, 256, 0, 280), (32, 256, 40, 320)}
    assert found == corners | {(16, 240, 20, 300)}


def test_what_sees_one_pixel_only_is_unchanged():
    for size in ((16, 24), (17, 9), (1, 2)):
        images = images_of(2, size)
        found = ten_crop.probabilities(as_numbers, images)
        np.testing.assert_allclose(found, images, rtol=1e-6)


def test_every_crop_and_its_mirror_image_count_alike():
    """Each answers with its number and which side is left."""
    seen = []

    def predict(images):
        seen.append(images)
        scores = np.full((*images.shape[:3], 2), len(seen), np.float32)
        scores[..., 1] = np.arange(images.shape[2])
        return scores

    images = images_of(1, (8, 16))
    found = ten_crop.probabilities(predict, images)[0]
    assert [image.shape for image in seen] == [(1, 7, 14, 3)] * 10
    for crop, mirrored in zip(seen[::2], seen[1::2], strict=True):
        np.testing.assert_array_equal(crop[:, :, ::-1], mirrored)
    # Crops 1 + 2 are upper left, 3 + 4 upper right, 5 + 6 lower left, 7 + 8 lower right, 9 + 10
    # the center, one pixel from the left and none from the top.
    np.testing.assert_allclose(found[0, 0], [1.5, 6.5])
    np.testing.assert_allclose(found[7, 15], [7.5, 6.5])
    np.testing.assert_allclose(found[0, 1, 0], (1.5 + 9.5) / 2)
    np.testing.assert_allclose(found[4, 8], [np.mean([1.5, 3.5, 5.5, 7.5, 9.5]), 6.5])
