"""Batches: laws of permutation, determinism and resumption; what an image and its label share."""

import numpy as np
import pytest

from data.example import Example
from data.pipeline import Batches, InMemory
from reseg_jax.config import VOID
from reseg_jax.errors import UserError


def examples(count, shapes=((4, 6),)):
    """Examples that tell who they are: pixel (0, 0) is the index, labels copy a channel."""
    made = []
    for index in range(count):
        height, width = shapes[index % len(shapes)]
        image = np.random.default_rng(index).integers(0, 11, (height, width, 3), np.uint8)
        image[..., 2] = index
        made.append(Example(f"{index:03}", image, image[..., 0].copy()))
    return made


def batches(count=7, batch_size=3, shapes=((4, 6),), **options):
    return Batches(InMemory(examples(count, shapes)), batch_size, **options)


def epoch(of, number):
    first = number * of.steps_per_epoch
    return [of.batch(step) for step in range(first, first + of.steps_per_epoch)]


def order(of, number):
    """Indices of the examples of an epoch, as they come."""
    real = [batch["image"][batch["weight"] > 0] for batch in epoch(of, number)]
    return np.concatenate(real)[:, 0, 0, 2].tolist()


def equal(a, b):
    return all(np.array_equal(a[name], b[name]) for name in ("image", "label", "weight"))


@pytest.mark.parametrize(("count", "batch_size"), [(7, 3), (6, 3), (5, 5), (4, 1)])
def test_every_epoch_has_each_example_once(count, batch_size):
    of = batches(count, batch_size, flip=True)
    assert of.steps_per_epoch == int(np.ceil(count / batch_size))
    for number in range(4):
        assert sorted(order(of, number)) == list(range(count))


def test_epochs_and_seeds_differ_in_order():
    of = batches(20, 5)
    assert order(of, 0) != order(of, 1)
    assert order(of, 0) != order(batches(20, 5, seed=1), 0)
    assert order(of, 0) != list(range(20))


def test_unshuffled_keeps_the_order():
    of = batches(7, 3, shuffle=False)
    assert order(of, 0) == order(of, 3) == list(range(7))


def test_every_place_of_an_epoch_is_equally_likely():
    of = batches(4, 4)
    first = np.bincount([order(of, number)[0] for number in range(400)], minlength=4)
    # 100 expected each with deviation sqrt(400 * 3/16) = 8.7: six deviations on either side.
    assert first.min() > 48
    assert first.max() < 152


def test_a_batch_is_a_function_of_seed_and_step_alone():
    one, other = batches(seed=5, flip=True), batches(seed=5, flip=True)
    straight = [one.batch(step) for step in range(8)]
    resumed = [other.batch(step) for step in reversed(range(8))]
    assert all(map(equal, straight, reversed(resumed)))
    assert not equal(straight[0], batches(seed=6, flip=True).batch(0))


def test_the_last_batch_is_filled_with_examples_that_do_not_count():
    last = batches(7, 3).batch(2)
    np.testing.assert_array_equal(last["weight"], np.float32([1, 0, 0]))
    assert last["weight"].dtype == np.float32
    assert (last["label"][1:] == VOID).all()
    assert (last["image"][1:] == 0).all()
    assert {name: last[name].shape for name in last} == {
        "image": (3, 4, 6, 3),
        "label": (3, 4, 6),
        "weight": (3,),
    }


def test_flips_move_image_and_label_together():
    of, made = batches(40, 8, flip=True), examples(40)
    mirrored = 0
    for batch in epoch(of, 0):
        np.testing.assert_array_equal(batch["label"], batch["image"][..., 0])
        for image in batch["image"]:
            original = made[image[0, 0, 2]].image
            mirrored += np.array_equal(image, original[:, ::-1])
            assert np.array_equal(image, original) or np.array_equal(image, original[:, ::-1])
    assert 8 < mirrored < 32  # 20 expected, deviation 3.2


def test_without_flip_nothing_is_mirrored():
    made = examples(7)
    for batch in epoch(batches(7, 3, seed=3), 2):
        for image in batch["image"][batch["weight"] > 0]:
            np.testing.assert_array_equal(image, made[image[0, 0, 2]].image)


def test_flipping_leaves_the_order_as_it_is():
    assert order(batches(20, 5, flip=True), 1) == order(batches(20, 5), 1)


def test_other_sizes_are_padded_at_the_bottom_and_right_to_one_shape():
    shapes = ((4, 6), (5, 2))
    of, made = batches(6, 2, shapes, shuffle=False), examples(6, shapes)
    for step in range(3):
        batch = of.batch(step)
        assert batch["image"].shape == (2, 5, 6, 3)
        for image, label, example in zip(
            batch["image"], batch["label"], made[2 * step :], strict=False
        ):
            height, width = example.label.shape
            np.testing.assert_array_equal(image[:height, :width], example.image)
            np.testing.assert_array_equal(label[:height, :width], example.label)
            assert image.sum() == example.image.sum()
            assert (label == VOID).sum() == 5 * 6 - height * width


def test_features_may_stand_in_for_images():
    class Features:
        """Maps of another size and type than the labels; the source itself mirrors them."""

        def __len__(self):
            return 3

        def get(self, index, flipped):
            return np.full((2, 3, 5), index + 0.5 * flipped, np.float16), np.zeros(
                (8, 12), np.uint8
            )

    of = Batches(Features(), 2, flip=True)
    both = epoch(of, 0) + epoch(of, 1) + epoch(of, 2)
    assert {batch["image"].shape for batch in both} == {(2, 2, 3, 5)}
    assert {batch["label"].shape for batch in both} == {(2, 8, 12)}
    assert both[0]["image"].dtype == np.float16
    values = np.concatenate([batch["image"][batch["weight"] > 0] for batch in both])
    assert set(np.unique(values % 1)) == {0, 0.5}  # flips are asked of the source, not made here


def test_examples_are_left_untouched():
    made = examples(3)
    batch = Batches(InMemory(made), 3, shuffle=False).batch(0)
    batch["image"][:] = 99
    assert all((a.image == b.image).all() for a, b in zip(made, examples(3), strict=True))


def test_length_is_the_images_of_an_epoch():
    assert len(batches(7, 3)) == 7


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"count": 7, "batch_size": 8}, ["batch of 8", "7 examples", "--batch_size"]),
        ({"batch_size": 0}, ["--batch_size=0"]),
        ({"seed": -1}, ["--seed=-1"]),
    ],
)
def test_what_cannot_work_is_refused(options, words):
    with pytest.raises(UserError) as caught:
        batches(**options)
    assert all(word in str(caught.value) for word in words)
