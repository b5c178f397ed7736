"""Colors, gamma and noise: by hand, and how far they go."""

import numpy as np
import pytest

from data.appearance import add_noise, jitter_color, random_gamma


class Draws:
    """A generator that gives these numbers, whatever it is asked for."""

    def __init__(self, *numbers):
        self.numbers = list(numbers)

    def uniform(self, low, high):
        return self.numbers.pop(0)


# The gray of (200, 100, 50) is 0.299 R + 0.587 G + 0.114 B = 124.2 (Rec. 601).
@pytest.mark.parametrize(
    ("factors", "color"),
    [
        ((1, 1, 1), (200, 100, 50)),
        ((0.5, 1, 1), (100, 50, 25)),
        ((1.5, 1, 1), (255, 150, 75)),
        ((1, 0.5, 1), (162, 112, 87)),
        ((1, 1, 0), (124, 124, 124)),
        ((1, 1, 0.5), (162, 112, 87)),
    ],
)
def test_colors_by_hand(factors, color):
    image = np.full((3, 4, 3), (200, 100, 50), np.uint8)
    found = jitter_color(Draws(*factors), image, 0.5)
    np.testing.assert_array_equal(found, np.broadcast_to(np.uint8(color), image.shape))


def test_contrast_is_about_the_mean_and_saturation_about_the_pixel():
    image = np.zeros((2, 2, 3), np.uint8)
    image[0] = 200  # mean gray 100
    lower = jitter_color(Draws(1, 0.5, 1), image, 0.5)
    assert (lower[0] == 150).all()
    assert (lower[1] == 50).all()
    np.testing.assert_array_equal(jitter_color(Draws(1, 1, 0.5), image, 0.5), image)


def test_factors_of_colors_keep_to_the_strength():
    gray = np.full((2, 2, 3), 100, np.uint8)  # only brightness changes it
    generator = np.random.default_rng(0)
    values = [jitter_color(generator, gray, 0.3)[0, 0, 0] for _ in range(200)]
    assert 70 <= min(values) < 75
    assert 125 < max(values) <= 130


def test_gamma_by_hand():
    """z = 0.2: log 0.6414 / log 0.3586 = 0.4331; 64 / 255 to that power is 0.5495."""
    image = np.full((1, 2, 3), (0, 64, 255), np.uint8)
    found = random_gamma(Draws(0.2), image, 0.2)
    np.testing.assert_array_equal(found, np.broadcast_to(np.uint8((0, 140, 255)), image.shape))
    darker = random_gamma(Draws(-0.2), np.full((1, 1, 3), 140, np.uint8), 0.2)
    assert abs(int(darker[0, 0, 0]) - 64) <= 1  # the inverse, but for rounding


def test_gamma_keeps_to_its_strength_and_to_the_order_of_grays():
    grays = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=-1)
    generator = np.random.default_rng(0)
    found = np.stack([random_gamma(generator, grays, 0.05)[..., 0].ravel() for _ in range(300)])
    assert (np.diff(found.astype(int), axis=1) >= 0).all()
    middle = np.log(found[:, 128] / 255) / np.log(128 / 255)  # gamma, but for rounding
    assert 0.80 < middle.min() < 0.83 and 1.20 < middle.max() < 1.25
    assert 120 < (found[:, 128] > 128).sum() < 180  # 150 expected, deviation 8.7


def test_noise_has_the_deviation_and_is_clipped():
    image = np.full((50, 60, 3), 128, np.uint8)
    found = add_noise(np.random.default_rng(0), image, 5.0)
    assert found.dtype == np.uint8
    assert found.mean() == pytest.approx(128, abs=0.3)  # its deviation is 0.05
    assert found.std() == pytest.approx(5, abs=0.2)
    assert abs(np.corrcoef(found[..., 0].ravel(), found[..., 1].ravel())[0, 1]) < 0.1
    for level in (0, 255):
        noisy = add_noise(np.random.default_rng(0), np.full_like(image, level), 50.0)
        assert 0.45 < (noisy == level).mean() < 0.55
