"""Augmented images: what is drawn anew and what stays, copies, and determinism."""

import inspect

import numpy as np
import pytest

from data.augment import Augmented, random_changes
from data.batches import Batches, InMemory
from reseg_jax.labels import VOID
from reseg_jax.training.settings import AUGMENTATIONS, TrainSettings
from tests.support.scenes import blocks


def equal(ours, theirs):
    return all(map(np.array_equal, ours, theirs))


def augmented(count=6, **options):
    options = {"seed": 3, "scale": (0.5, 2.0), "color": 0.4} | options
    names = options.keys() & inspect.signature(random_changes).parameters
    changes = random_changes(**{name: options.pop(name) for name in names})
    return Augmented(
        InMemory([blocks(index) for index in range(count)]), changes=changes, **options
    )


def test_an_augmented_image_is_a_function_of_seed_epoch_and_index():
    one, other = augmented(), augmented()
    places = [(index, epoch) for index in range(3) for epoch in range(3)]
    found = {place: one.get(*place) for place in places}
    for index, epoch in reversed(places):
        assert equal(other.get(index, epoch), found[index, epoch])
        assert not equal(augmented(seed=4).get(index, epoch), found[index, epoch])
        assert not equal(found[index, (epoch + 1) % 3], found[index, epoch])
    same = Augmented(InMemory([blocks(0)] * 2), 3, random_changes(scale=(0.5, 2.0)))
    assert not equal(same.get(0, 0), same.get(1, 0))


EVERYTHING = {"gamma": 0.1, "elastic": 2.0, "rotate": 20.0, "aspect": 1.2, "translate": 2}
EVERYTHING |= {"noise": 3.0}


@pytest.mark.parametrize("name", EVERYTHING)
def test_each_change_is_a_function_of_seed_epoch_and_index(name):
    """And changes images in every epoch, by itself."""

    def images(**options):
        of = augmented(2, color=0.0, scale=(1.0, 1.0), **options)
        return [of.get(index, epoch) for index in range(2) for epoch in range(2)]

    first, again, other = (images(**{name: EVERYTHING[name]}, seed=seed) for seed in (3, 3, 4))
    assert all(map(equal, first, again))
    assert not any(map(equal, first, other))
    assert not equal(first[0], first[1])
    assert not any(map(equal, first, images()))


def test_labels_hold_nothing_new_whatever_is_combined():
    of = augmented(4, **EVERYTHING)
    for index in range(4):
        image, label = of.get(index, 1)
        assert np.isin(label, [*np.unique(blocks(index).label), VOID]).all()
        assert (image.shape, label.shape) == ((12, 16, 3), (12, 16))


def test_settings_and_changes_have_the_same_names_and_nothing_is_done_by_default():
    parameters = inspect.signature(random_changes).parameters
    assert {name: each.default for name, each in parameters.items()} == {
        name: getattr(TrainSettings, name) for name in AUGMENTATIONS
    }
    assert random_changes() == ()


def test_mirroring_comes_after_augmentation():
    image, label = augmented().get(1, 5)
    assert equal(augmented().get(1, 5, flipped=True), (image[:, ::-1], label[:, ::-1]))


def test_copies_come_in_turn_and_the_first_is_the_example():
    of, endless = augmented(num_augmented_copies=3), augmented()
    for index in range(3):
        copies = [of.get(index, epoch) for epoch in range(7)]
        for epoch, copy in enumerate(copies):
            assert equal(copy, copies[epoch % 3])
        assert equal(copies[0], blocks(index)[1:])
        for epoch in (1, 2):
            assert equal(copies[epoch], endless.get(index, epoch))


@pytest.mark.parametrize("copies", [0, 40])
def test_flip_mirrors_half_of_the_images(copies):
    straight, mirrored = augmented(2), augmented(2, flip=True, num_augmented_copies=copies)
    ways = []
    for index in range(2):
        for epoch in range(1, 40):
            image, label = straight.get(index, epoch)
            ways.append(equal(mirrored.get(index, epoch), (image[:, ::-1], label[:, ::-1])))
            if not ways[-1]:
                assert equal(mirrored.get(index, epoch), (image, label))
    assert 24 < sum(ways) < 54  # 39 expected of 78, deviation 4.4


def test_colors_leave_labels_as_they_are_and_defaults_change_nothing():
    of, example = augmented(scale=(1.0, 1.0)), blocks(2)
    image, label = of.get(2, 0)
    np.testing.assert_array_equal(label, example.label)
    assert not np.array_equal(image, example.image)
    assert equal(augmented(scale=(1.0, 1.0), color=0.0).get(2, 0), example[1:])
    assert equal(augmented().get(2), example[1:])  # no epoch
    assert augmented().shape(2) == (example.image.shape, example.label.shape)


def test_examples_are_left_untouched():
    of = augmented()
    for epoch in range(3):
        of.get(0, epoch, flipped=True)
    assert equal(of.source.examples[0][1:], blocks(0)[1:])


def test_batches_change_from_epoch_to_epoch_and_are_the_same_again():
    batches = [Batches(augmented(), 2, seed=7, flip=True) for _ in range(2)]
    one, other = ([of.batch(step) for step in range(6)] for of in batches)
    for ours, theirs in zip(one, other, strict=True):
        assert equal(ours.values(), theirs.values())
        assert ours["image"].shape == (2, 12, 16, 3)
    seen = [
        {image.tobytes() for batch in one[at : at + 3] for image in batch["image"]} for at in (0, 3)
    ]
    assert len(seen[0] | seen[1]) == 12
