"""What holds for any shape, dtype, patch size, number of classes and range of labels."""

import io

import hypothesis.extra.numpy
import jax
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as some
from PIL import Image

from data.batches import Batches, InMemory
from data.example import Example
from reseg_jax import api, metrics, padding, predict
from reseg_jax.errors import UserError
from reseg_jax.files import sealed_json
from reseg_jax.files.colors import decode_colors
from reseg_jax.files.images import decode_image, read_image, write_png
from reseg_jax.labels import VOID
from reseg_jax.networks.reseg import ReSegConfig
from reseg_jax.training import feature_files

few = settings(deadline=None, max_examples=25, derandomize=True, database=None)
sides = some.integers(1, 24)
pairs = some.tuples(some.integers(1, 4), some.integers(1, 4))
arrays = hypothesis.extra.numpy.arrays


@some.composite
def configs(draw):
    """Small ReSegs without a backbone, whatever their layers are."""
    depth = draw(some.integers(1, 2))
    return ReSegConfig.no_vgg(
        num_classes=draw(some.integers(2, 255)),
        patch_sizes=tuple(draw(pairs) for _ in range(depth)),
        units=tuple(draw(some.integers(1, 5)) for _ in range(depth)),
        upsample_sizes=tuple(draw(pairs) for _ in range(depth)),
        upsample_channels=tuple(draw(some.integers(1, 5)) for _ in range(depth)),
        cell=draw(some.sampled_from(["gru", "lstm", "rnn", "mingru"])),
    )


@pytest.mark.slow
@settings(few, max_examples=10)  # each traces a network
@given(configs(), some.integers(1, 3), sides, sides)
def test_logits_have_the_image_s_size_and_a_channel_per_class(config, batch, height, width):
    images = jax.ShapeDtypeStruct((batch, height, width, 3), np.uint8)
    shapes = jax.eval_shape(
        lambda key, images: api.apply(config, api.init(config, key), images),
        *(jax.random.key(0), images),
    )
    assert shapes.shape == (batch, height, width, config.num_classes)


@few
@given(
    some.sampled_from(["?", "i1", "u2", "i4", "i8", "f4", "f8", "c8", "U3", "O", "M8[s]"]),
    hypothesis.extra.numpy.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=4),
)
def test_what_is_no_image_is_refused_in_a_sentence(dtype, shape):
    """Shapes and kinds that do not fit; those that do are computed by other tests."""
    fits = len(shape) in (3, 4) and shape[-1] == 3 and 0 not in shape
    assume(not (fits and dtype in ("f4", "f8")))
    config = ReSegConfig.no_vgg(num_classes=2)
    images = np.zeros(shape, dtype)
    try:
        predict(config, {}, images)
    except UserError as error:
        assert str(error) and "\n" not in str(error)
    else:
        raise AssertionError("it was predicted")


@few
@given(arrays(np.uint8, some.tuples(sides, sides, some.just(3))))
def test_a_photo_comes_back_as_it_was_written(image):
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    np.testing.assert_array_equal(decode_image(stream.getvalue(), "photo.png"), image)


@few
@given(
    some.lists(some.tuples(*[some.integers(0, 255)] * 3), min_size=1, max_size=255, unique=True),
    some.integers(0, 2**32 - 1),
)
def test_every_color_of_a_table_is_read_as_its_class(tmp_path_factory, palette, seed):
    """Also in a file, whose palette has as many."""
    labels = np.random.default_rng(seed).integers(0, len(palette), (5, 7)).astype(np.uint8)
    path = tmp_path_factory.getbasetemp() / "property.png"
    write_png(path, labels, palette)
    colors = read_image(path)
    np.testing.assert_array_equal(colors, np.array(palette, np.uint8)[labels])
    table = [(color, index) for index, color in enumerate(palette)]
    found, known = decode_colors(colors, table)
    assert known.all()
    np.testing.assert_array_equal(found, labels)
    other = next(c for c in np.ndindex(256, 256, 256) if c not in set(palette))
    colors[2, 3] = other
    found, known = decode_colors(colors, table)
    assert (~known).sum() == 1 and found[2, 3] == VOID


@few
@given(some.integers(1, 255), some.integers(0, 2**32 - 1), some.floats(0, 1))
def test_scores_are_shares_and_the_truth_scores_one(classes, seed, void):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, (2, 6, 7)).astype(np.uint8)
    truth[rng.random(truth.shape) < void] = VOID
    guess = rng.integers(0, classes, truth.shape).astype(np.uint8)
    labeled = (truth != VOID).sum()
    for prediction in (guess, np.where(truth == VOID, guess, truth)):
        summary = metrics.summarize(metrics.confusion_matrix(truth, prediction, classes))
        assert summary["pixels"] == labeled
        for name in ("miou", "global_accuracy", "mean_class_accuracy"):
            assert (summary[name] is None) == (not labeled)
            assert not labeled or 0 <= summary[name] <= 1
    assert not labeled or summary["miou"] == summary["global_accuracy"] == 1


@few
@given(some.lists(some.tuples(some.integers(1, 3000), some.integers(1, 3000)), max_size=20))
def test_common_sizes_hold_every_image(sizes):
    common = padding.CommonSizes(True)
    for size in sizes:
        held = common.holding(size)
        assert all(room >= length for room, length in zip(held, size, strict=True))


@few
@given(some.integers(1, 9), some.integers(1, 9), some.integers(0, 5), some.booleans())
def test_every_image_is_once_in_an_epoch(count, batch_size, epoch, shuffle):
    batch_size = min(batch_size, count)
    examples = [
        Example(str(i), np.full((2, 3, 3), i, np.uint8), np.zeros((2, 3), np.uint8))
        for i in range(count)
    ]
    batches = Batches(InMemory(examples), batch_size, seed=1, shuffle=shuffle)
    seen = []
    for step in range(epoch * batches.steps_per_epoch, (epoch + 1) * batches.steps_per_epoch):
        batch = batches.batch(step)
        real = batch["weight"] > 0
        seen += [int(image[0, 0, 0]) for image in batch["image"][real]]
    assert sorted(seen) == list(range(count))


texts = some.text(some.characters(codec="utf-8"), max_size=5)
jsons = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats(allow_nan=False) | texts,
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@few
@given(some.dictionaries(texts, jsons, min_size=1, max_size=4), jsons)
def test_a_sealed_record_is_whole_until_a_value_changes(record, other):
    sealed = sealed_json.seal(record)
    assert sealed_json.is_whole(sealed)
    name = next(iter(record))
    assume(name != sealed_json.FIELD and (sealed[name], type(sealed[name])) != (other, type(other)))
    assert not sealed_json.is_whole({**sealed, name: other})


@few
@given(
    arrays(
        some.sampled_from([np.float16, np.float32]),
        hypothesis.extra.numpy.array_shapes(min_dims=3, max_dims=3, max_side=6),
    ),
    some.data(),
)
def test_a_feature_file_with_any_bit_flipped_is_noticed(tmp_path_factory, array, data):
    path = tmp_path_factory.getbasetemp() / "feature.npy"
    feature_files.write(path, array)
    assert feature_files.problem(path) is None
    np.testing.assert_array_equal(feature_files.read(path), array)
    content = bytearray(path.read_bytes())
    bit = data.draw(some.integers(0, 8 * len(content) - 1))
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)
    assert feature_files.problem(path) is not None
