"""Batches: laws of permutation, determinism and resumption; what an image and its label share."""

import hashlib

import numpy as np
import pytest

from data.batches import Batches, InMemory, Lazy
from data.buckets import group_by_size
from data.example import Example
from data.reading.layout import Pair
from reseg_jax.errors import UserError
from reseg_jax.labels import VOID


def examples(count, shapes=((4, 6),)):
    """Examples that can be recognized: blue is the index, labels copy a channel."""
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
    real = [batch["image"][batch["weight"] > 0, 0, 0, 2] for batch in epoch(of, number)]
    return np.concatenate(real).tolist()


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


def test_a_batch_is_a_function_of_seed_and_step_only():
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
        "size": (3, 2),
        "weight": (3,),
    }
    np.testing.assert_array_equal(last["size"], [(4, 6), (0, 0), (0, 0)])


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


def test_weights_of_pixels_are_those_of_the_label_as_it_is_seen():
    """Mirrored with it; where there is no image they are 0."""
    of = batches(
        7, 3, ((4, 6), (5, 2)), flip=True, pixel_weights=lambda label: label + np.float32(1)
    )
    for batch in epoch(of, 0):
        expected = np.where(batch["label"] == VOID, 0, batch["label"] + np.float32(1))
        np.testing.assert_array_equal(batch["pixel_weights"], expected)
        assert batch["pixel_weights"].dtype == np.float32
    assert "pixel_weights" not in batches().batch(0)


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


@pytest.mark.parametrize(
    ("options", "digest"),
    [
        (
            {"seed": 5, "flip": True},
            "286dc39baa90dca68a2af25d7521aa8233fdfd185d56c20903b1c38d9f7548bc",
        ),
        (
            {"shapes": ((4, 6), (5, 2)), "seed": 5, "flip": True},
            "bfd1cd63096dbcdfe274c2ef965211334e5dfc01c557b9893a28cd865c7df59f",
        ),
    ],
)
def test_batches_stay_what_they_were(options, digest):
    """Three epochs, bit for bit: runs that were started before go on as they would have."""
    of, found = batches(**options), hashlib.sha256()
    for batch in epoch(of, 0) + epoch(of, 1) + epoch(of, 2):
        for name in ("image", "label", "weight"):
            found.update(str((batch[name].shape, batch[name].dtype)).encode())
            found.update(batch[name].tobytes())
    assert found.hexdigest() == digest


def test_drop_last_leaves_out_what_fills_no_batch():
    of, all_of = batches(7, 3, drop_last=True), batches(7, 3)
    assert (of.steps_per_epoch, len(of)) == (2, 6)
    for number in range(3):
        assert order(of, number) == order(all_of, number)[:6]
        assert all(batch["weight"].all() for batch in epoch(of, number))
    left_out = {number: set(range(7)) - set(order(of, number)) for number in range(20)}
    assert len(set.union(*left_out.values())) > 3  # not always the same one
    assert batches(6, 3, drop_last=True).steps_per_epoch == 2


SIZES = ((4, 6), (40, 9), (4, 7), (4, 60), (42, 8), (3, 61))


@pytest.mark.parametrize("options", [{}, {"drop_last": True}, {"shuffle": False}])
def test_buckets_batch_similar_sizes(options):
    of, made = batches(18, 2, SIZES, buckets=3, **options), examples(18, SIZES)
    assert of.steps_per_epoch == 9
    seen = set()
    for batch in epoch(of, 0):
        seen.add(batch["label"].shape[1:])
        for image, label in zip(batch["image"], batch["label"], strict=True):
            example = made[image[0, 0, 2]]
            height, width = example.label.shape
            np.testing.assert_array_equal(image[:height, :width], example.image)
            np.testing.assert_array_equal(label[:height, :width], example.label)
            assert image.sum() == example.image.sum()
            assert (label == VOID).sum() == label.size - height * width
    assert seen == {(4, 7), (42, 9), (4, 61)}


@pytest.mark.parametrize("count", [18, 23])
def test_buckets_have_each_example_once_an_epoch(count):
    of = batches(count, 2, SIZES, buckets=3, flip=True)
    first = [of.batch(step)["label"].shape for step in range(of.steps_per_epoch)]
    for number in range(3):
        assert sorted(order(of, number)) == list(range(count))
    assert first != sorted(first)  # batches of all buckets are mixed
    again = batches(count, 2, SIZES, buckets=3, flip=True)
    steps = range(2 * of.steps_per_epoch)
    assert all(equal(of.batch(step), again.batch(step)) for step in reversed(steps))


def test_examples_before_a_step_are_what_the_batches_before_it_held():
    of = batches(23, 4, SIZES, buckets=3)  # three batches are not full
    for first in (0, of.steps_per_epoch):
        count = 0
        for step in range(first, first + of.steps_per_epoch):
            assert of.examples_before(step) == count
            count += int(of.batch(step)["weight"].sum())
        assert count == len(of) == 23


def test_grouping_makes_the_cuts_that_save_most():
    sizes = np.array([(4, 6), (40, 6), (5, 7), (4, 60), (42, 5)])
    assert set(group_by_size(sizes, 1)) == {0}
    # By hand: one group of all takes 5 x 42 x 60 = 12600 pixels. Cut at the height 40 it takes
    # 3 x 5 x 60 + 2 x 42 x 6 = 1404, at the width 60 4 x 42 x 7 + 240 = 1416, at the width 7
    # 3 x 42 x 6 + 2 x 5 x 60 = 1356, the least.
    np.testing.assert_array_equal(group_by_size(sizes, 2), [0, 0, 1, 1, 0])
    # Next, cutting off the wide one saves 600 - 35 - 240, the small one 756 - 24 - 504.
    np.testing.assert_array_equal(group_by_size(sizes, 3), [0, 0, 2, 1, 0])
    np.testing.assert_array_equal(group_by_size(sizes, 4), [0, 3, 2, 1, 3])
    assert len(set(group_by_size(sizes, 99))) == 5  # one group each
    np.testing.assert_array_equal(group_by_size(sizes, 99, least=2), [0, 0, 1, 1, 0])
    assert set(group_by_size(sizes[:1].repeat(9, axis=0), 4)) == {0}  # equal sizes stay together


class Features:
    """Maps of strides 4 and 2 that are decoded in `get` only; the source itself mirrors them."""

    def __init__(self, count, sizes=SIZES):
        self.count, self.sizes, self.decoded = count, sizes, []

    def __len__(self):
        return self.count

    def shape(self, index):
        height, width = self.sizes[index % len(self.sizes)]
        cells = {stride: (-(-height // stride), -(-width // stride)) for stride in (4, 2)}
        return {"deep": (*cells[4], 5), "shallow": (*cells[2], 2)}, (height, width)

    def get(self, index, epoch=None, flipped=False):
        self.decoded.append(index)
        shapes, size = self.shape(index)
        value = index + 1 + 0.5 * flipped
        maps = {tap: np.full(shape, value, np.float16) for tap, shape in shapes.items()}
        return maps, np.full(size, index, np.uint8)


def test_maps_of_every_tap_are_padded_to_the_largest_of_their_bucket():
    for batch in epoch(Batches(Features(12), 2, buckets=3), 0):
        height, width = batch["label"].shape[1:]
        maps = batch["image"]
        assert maps["deep"].shape == (2, -(-height // 4), -(-width // 4), 5)
        assert maps["shallow"].shape == (2, -(-height // 2), -(-width // 2), 2)
        for slot, size in enumerate(batch["size"]):
            index = batch["label"][slot, 0, 0]
            for stride, one in ((4, maps["deep"][slot]), (2, maps["shallow"][slot])):
                rows, columns = -(-size // stride)
                assert (one[:rows, :columns] == index + 1).all()
                assert one.sum(dtype=float) == one[:rows, :columns].sum(dtype=float)


def test_features_keep_their_dtype_and_are_mirrored_by_their_source():
    of = Batches(Features(3, sizes=((8, 12),)), 2, flip=True)
    both = epoch(of, 0) + epoch(of, 1) + epoch(of, 2)
    assert {batch["image"]["deep"].shape for batch in both} == {(2, 2, 3, 5)}
    assert {batch["label"].shape for batch in both} == {(2, 8, 12)}
    assert both[0]["image"]["deep"].dtype == np.float16
    values = np.concatenate([batch["image"]["deep"][batch["weight"] > 0] for batch in both])
    assert set(np.unique(values % 1)) == {0, 0.5}


def test_a_source_decodes_only_what_its_batch_needs():
    source = Features(7)
    of = Batches(source, 2, seed=1, buckets=2)
    of.examples_before(5)
    assert source.decoded == []
    for step in (0, 3, 0):
        source.decoded.clear()
        batch = of.batch(step)
        real = batch["label"][batch["weight"] > 0]
        assert source.decoded == real[:, 0, 0].tolist()


def test_a_lazy_source_gives_the_batches_of_examples_in_memory():
    made = examples(11, SIZES)
    names = [example.name for example in made]
    by_name = dict(zip(names, made, strict=True))
    lazy = Lazy(
        [Pair(name, None, None) for name in names],
        lambda pair: by_name[pair.name][1:],
        lambda pair: by_name[pair.name].label.shape,
    )
    options = {"seed": 2, "flip": True, "buckets": 2}
    ours, theirs = (Batches(source, 3, **options) for source in (lazy, InMemory(made)))
    assert all(map(equal, epoch(ours, 0) + epoch(ours, 1), epoch(theirs, 0) + epoch(theirs, 1)))


def test_the_valid_size_is_there_if_the_sizes_of_a_bucket_differ():
    batch = batches(3, 3, ((4, 6), (5, 2)), shuffle=False).batch(0)
    np.testing.assert_array_equal(batch["valid_size"], [(4, 6), (5, 2), (4, 6)])
    assert batch["valid_size"].dtype == np.int32
    assert "valid_size" not in batches(3, 3).batch(0)
    # Equal labels, but maps of two sizes: padded as well.
    source = Features(2, sizes=((8, 8),))
    source.shape = lambda index: ({"deep": (2 + index, 2, 5)}, (8, 8))
    assert "valid_size" in Batches(source, 2).batch(0)


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
        ({"buckets": 0}, ["--buckets=0"]),
    ],
)
def test_what_cannot_work_is_refused(options, words):
    with pytest.raises(UserError) as caught:
        batches(**options)
    assert all(word in str(caught.value) for word in words)
