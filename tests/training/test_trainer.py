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


def test_the_toy_is_not_learned_without_sweeps(row):
    """1x1 convolutions of the same width must guess what stands far away decides.

    With sweeps it is learned: CI trains it by README's first command and looks at its score.
    """
    config, settings = build(PRESETS["toy"], {"context": "pointwise"})
    optimizer = optimizers.make(settings.optimizer, settings.learning_rate)
    network = api.build(config).logits
    train, val = (
        Batches(InMemory(data.load("toy", split)), settings.batch_size)
        for split in ("train", "val")
    )
    with jax.set_mesh(row):
        train_step = make_train_step(network, optimizer, Loss(settings.l2))
        state = create_state(api.init(config, jax.random.key(settings.seed)), optimizer)
        for step in range(settings.epochs * train.steps_per_epoch):
            state, loss = train_step(state, train.batch(step))
            loss.block_until_ready()  # one program at a time: devices wait for each other
        batches = map(val.batch, range(val.steps_per_epoch))
        matrix = score(make_predict_step(network, 11), state.variables, batches, 11)
    assert 0.3 < metrics.summarize(matrix)["miou"] < 0.65
