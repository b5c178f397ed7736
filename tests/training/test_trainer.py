"""What training must be able to do: learn real frames by heart, and see far in the toy."""

import jax
import pytest

import data
from data.batches import Batches, InMemory
from experiments.presets import PRESETS, build
from reseg_jax import api, metrics
from reseg_jax.backbones import pretrained
from reseg_jax.training import optimizers
from reseg_jax.training.losses import Loss
from reseg_jax.training.step import create_state, make_predict_step, make_train_step, score

pytestmark = pytest.mark.slow

HEIGHT, WIDTH = 96, 128  # of the part of a frame that is learned: a 14th of it, and of the time


@pytest.fixture(autouse=True, scope="module")
def optimized():
    """Compiled as for users: these tests compute for longer than they compile."""
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)


def middle(example):
    """The middle of a frame."""
    top, left = (example.label.shape[0] - HEIGHT) // 2, (example.label.shape[1] - WIDTH) // 2
    cut = slice(top, top + HEIGHT), slice(left, left + WIDTH)
    return example._replace(image=example.image[cut], label=example.label[cut])


def test_five_real_frames_are_learnt_by_heart(real_data, vgg_weights_path):
    """Over 99 % of the labeled pixels; a wrong loss, label or alignment never gets there.

    With Adam, which gets there in fewer updates than Adadelta.
    """
    config = PRESETS["camvid"].config
    frames = [middle(example) for example in data.load("camvid", "train", real_data)[::80]]
    assert len(frames) == 5
    variables = api.init(config, jax.random.key(0))
    config, variables = pretrained.use_vgg_weights(config, variables, vgg_weights_path)
    batch = Batches(InMemory(frames), 5, shuffle=False).batch(0)
    batch["image"] = api.features(config, variables, batch["image"])

    logits_fn = api.build(config).logits
    optimizer = optimizers.make("adam", 3e-3)
    train_step = make_train_step(logits_fn, optimizer, Loss(PRESETS["camvid"].settings.l2))
    predict_step = make_predict_step(logits_fn, config.num_classes)
    state = create_state(variables, optimizer)
    accuracy = []
    while len(accuracy) < 10 and (not accuracy or accuracy[-1] <= 0.99):
        with jax.numpy_dtype_promotion("standard"):  # optax's Adam raises a float to an integer
            for _ in range(40):
                state, _ = train_step(state, batch)
        matrix = score(predict_step, state.variables, [batch], config.num_classes)
        accuracy.append(metrics.summarize(matrix)["global_accuracy"])
    assert accuracy[-1] > 0.99, accuracy


@pytest.fixture(scope="module")
def toy():
    return data.load("toy", "train"), data.load("toy", "val")


def toy_miou(toy, **changes):
    """Validation mIoU of the toy preset after as many epochs as the preset has."""
    config, settings = build(PRESETS["toy"], changes)
    optimizer = optimizers.make(settings.optimizer, settings.learning_rate)

    network = api.build(config).logits
    train_step = make_train_step(network, optimizer, Loss(settings.l2))
    state = create_state(api.init(config, jax.random.key(settings.seed)), optimizer)
    train, val = (Batches(InMemory(examples), settings.batch_size) for examples in toy)
    for step in range(settings.epochs * train.steps_per_epoch):
        state, _ = train_step(state, train.batch(step))
    batches = map(val.batch, range(val.steps_per_epoch))
    matrix = score(make_predict_step(network, 11), state.variables, batches, 11)
    return metrics.summarize(matrix)["miou"]


def test_the_toy_is_learnt_with_sweeps(toy):
    assert toy_miou(toy) > 0.9


def test_the_toy_is_not_learnt_without_them(toy):
    """1x1 convolutions of the same width must guess what stands far away decides."""
    assert toy_miou(toy, context="pointwise") < 0.65
