"""What every network must do; a new one is a line in `tests.support.networks`."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import reseg_jax
from data import Example
from experiments import trainer
from reseg_jax import api, devices, networks
from reseg_jax.inference.ensemble import Views, probabilities
from reseg_jax.labels import VOID, Classes
from reseg_jax.layers import conv
from reseg_jax.loading import load_saved
from reseg_jax.saving import config_from_dict, config_to_dict, read
from reseg_jax.training import step
from reseg_jax.training.losses import Loss
from reseg_jax.training.optimizers import make
from reseg_jax.training.settings import TrainSettings
from reseg_jax.training.trained import load_run
from reseg_jax.training.transfer import start_from
from reseg_jax.training.workdir import About, claim
from tests.support.networks import SMALL, images_of, random_variables

CLASSES = Classes(("dark", "middle", "bright"), ((0, 0, 0), (90, 90, 90), (255, 255, 255)))
SIZE = (22, 27)  # odd for every stride

PRIMARY = ("reseg", "fcn, 8s", "unet, same, batch norm")  # the fast suite's; the others are slow


def of_each(labels=SMALL):
    """A config per label, those that the fast suite leaves out marked."""
    return [
        pytest.param(SMALL[label], id=label, marks=[pytest.mark.slow] * (label not in PRIMARY))
        for label in labels
    ]


every_network = pytest.mark.parametrize("config", of_each())
every_config = pytest.mark.parametrize("config", SMALL.values(), ids=SMALL)  # of what is quick


@functools.cache
def variables_of(config):
    return random_variables(config)


def batch_of(count, size=SIZE, fill=0):
    """A training batch, the last `fill` images of which only fill it up."""
    images = images_of(count, size)
    labels = np.minimum(images.mean(axis=-1) // 86, 2).astype(np.uint8)
    labels[:, 0, :3] = VOID
    weight = np.ones(count, np.float32)
    if fill:
        weight[-fill:] = 0
    sizes = np.where(weight[:, None] > 0, np.array([size]), 0)
    return {"image": images, "label": labels, "weight": weight, "size": sizes.astype(np.int32)}


def train_step(config):
    optimizer = make("sgd", 1e-4)
    return optimizer, step.make_train_step(api.build(config).logits, optimizer, Loss(), 0)


def close(found, expected, tolerance=1e-4):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance),
        found,
        expected,
    )


def test_every_network_is_here():
    assert {networks.name_of(config) for config in SMALL.values()} == set(networks.NETWORKS)


@pytest.mark.parametrize("name", networks.NETWORKS)
def test_a_name_stands_for_a_config_with_defaults(name):
    config = networks.config_class(name)()
    assert networks.name_of(config) == name
    assert config == networks.config_class(name)()
    hash(config)


@every_network
def test_prepared_variables_predict_the_same(config, monkeypatch):
    """By minimal filtering of kernels that are transformed already, and by the sums."""
    variables, images = variables_of(config), images_of(2, (37, 42))
    expected = reseg_jax.apply(config, variables, images)
    monkeypatch.setattr(conv, "_LEAST_CHANNELS", 1)
    monkeypatch.setattr(conv, "_LEAST_TILES_PREPARED", 1)
    monkeypatch.setattr(conv, "_MOST_CORES", 1000)
    prepared = reseg_jax.prepare(config, variables)
    small = [leaf for leaf in jax.tree.leaves(variables) if leaf.shape[:2] == (3, 3)]
    assert len(jax.tree.leaves(prepared[conv.TRANSFORMED])) == 6 * len(small)
    close(reseg_jax.apply(config, prepared, images), expected)


@every_config
def test_prepared_variables_are_not_saved(config, tmp_path):
    variables = {**variables_of(config), conv.TRANSFORMED: {"vgg": {"kernel": (np.ones(1),)}}}
    reseg_jax.save(tmp_path / "network.npz", config, variables)
    found = read(tmp_path / "network.npz").variables
    assert jax.tree.structure(found) == jax.tree.structure(variables_of(config))


@every_config
def test_a_config_survives_json(config):
    assert config_from_dict(config_to_dict(config)) == config


# --- sizes and parameters ------------------------------------------------------------------------


@every_config
@pytest.mark.parametrize("size", [(1, 1), (16, 16), (37, 64)])
def test_logits_have_the_size_of_the_image(config, size):
    images = jax.ShapeDtypeStruct((2, *size, 3), jnp.uint8)
    logits = jax.eval_shape(functools.partial(api.apply, config), variables_of(config), images)
    assert (logits.shape, logits.dtype) == ((2, *size, 3), jnp.float32)


@every_network
def test_void_may_be_one_more_class(config):
    config = dataclasses.replace(config, void_class=True)
    images = jax.ShapeDtypeStruct((1, *SIZE, 3), jnp.uint8)
    logits = jax.eval_shape(functools.partial(api.apply, config), random_variables(config), images)
    assert logits.shape[-1] == 4


@every_network
def test_the_last_layer_is_called_classifier(config):
    """Transfer to other classes and logit adjustment rely on it."""
    classifier = variables_of(config)["params"]["classifier"]
    assert classifier["bias"].shape == (3,)
    assert classifier["kernel"].shape[-1] == 3
    assert "classifier" in config.class_layers
    raised = jax.tree.map(np.copy, variables_of(config))
    raised["params"]["classifier"]["bias"][1] += 1e4
    found = reseg_jax.predict(config, raised, images_of(1, (40, 40))[0])
    assert (found == 1).all()


@every_config
def test_the_backbone_is_frozen_or_trained(config):
    variables = variables_of(config)
    name = config.backbone and config.backbone.name
    where = {home for home in ("params", "frozen") if name in variables.get(home, {})}
    assert where == ({"frozen"} if config.frozen else {"params"} if config.backbone else set())


@pytest.mark.parametrize(
    ("preset", "count"),
    [
        ("camvid", 2_542_149),
        ("camvid_released", 2_405_349 + 51),  # void is a twelfth class of 50 + 1 parameters
        ("camvid_fcn8s", 134_314_081 + 2 * 4 * 4 * 11 * 11),  # and two learned upsamplings
        ("camvid_unet", 31_044_171),
        ("camvid_deconvnet", 251_805_003),
        ("camvid_fusionnet", 75_056_971),
        ("camvid_frrn_a", 17_711_787),
        ("camvid_frrn_b", 24_720_683),
        ("camvid_dilated", 134_305_611),
        ("camvid_dilated_context", 134_313_443),
        ("camvid_dilated_context_large", 136_172_740),
        ("camvid_pspnet50", 49_073_878),
        ("camvid_pspnet101", 68_066_006),
        ("camvid_deeplab_largefov", 20_495_179),
        ("camvid_deeplab_aspp_s", 37_836_652),
        ("camvid_deeplab_aspp_l", 37_836_652),
        ("camvid_deeplab_resnet101", 43_311_212),
        ("camvid_refinenet50", 99_030_859),
        ("camvid_refinenet101", 118_022_987),
        ("camvid_bayesian_segnet", 29_449_355),
        ("camvid_bayesian_segnet_basic", 1_416_587),
    ],
)
def test_published_parameter_counts(preset, count):
    """/param_counts: of the papers' networks with 11 classes."""
    from experiments.presets import PRESETS

    config = PRESETS[preset].config
    tree = jax.eval_shape(functools.partial(api.init, config), jax.random.key(0))
    tree.pop("batch_stats", None)
    assert sum(leaf.size for leaf in jax.tree.leaves(tree)) == count


# --- values --------------------------------------------------------------------------------------


@every_network
def test_apply_is_head_after_features(config):
    """The maps may be kept in between, as NumPy's."""
    image, variables = images_of(1, SIZE), variables_of(config)
    maps = {tap: np.asarray(found) for tap, found in api.features(config, variables, image).items()}
    assert set(maps) == set(config.taps)
    found = api.head(config, variables, maps, SIZE)
    close(found, api.apply(config, variables, image))
    close(api.build(config).logits(variables, image, SIZE), found)
    close(api.build(config).logits(variables, maps, SIZE), found)


@every_network
def test_a_pixel_is_answered_where_it_is(config):
    """What one patch of the image changes is centered on that patch (no drift of the geometry)."""
    size, center = (96, 96), (48.0, 48.0)
    variables = jax.tree.map(np.abs, variables_of(config))  # no signs: a smooth response
    image = np.full((1, *size, 3), 60, np.uint8)
    changed = image.copy()
    changed[0, 40:56, 40:56] = 200
    before, after = (api.apply(config, variables, x) for x in (image, changed))
    response = np.abs(np.asarray(after - before))[0].sum(axis=-1)
    assert response.max() > 0
    rows, columns = response.sum(axis=1), response.sum(axis=0)
    drift = [np.average(np.arange(96) + 0.5, weights=w) for w in (rows, columns)]
    assert np.abs(np.subtract(drift, center)).max() < 12, drift


@every_network
def test_every_trained_parameter_has_a_gradient(config):
    """Finite, and not zero; what is frozen has none."""
    batch, variables = batch_of(2), variables_of(config)

    def loss_of(params):
        logits, updates = api.build(config).logits(
            {**variables, "params": params}, batch["image"], SIZE, train=True,
            weight=batch["weight"],
        )  # fmt: skip
        return Loss()(logits, batch["label"], batch["weight"], params, updates["aux"])

    gradients = jax.jit(jax.grad(loss_of))(variables["params"])
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradients):
        name = jax.tree_util.keystr(path)
        assert np.isfinite(leaf).all(), name
        # Batch statistics take out what a bias before them adds.
        before_norm = getattr(config.backbone, "batch_norm", False) and "vgg" in name
        before_norm = before_norm or getattr(config, "batch_norm", False)
        assert before_norm or np.abs(leaf).max() > 0, name


# --- training ------------------------------------------------------------------------------------


@every_network
def test_images_that_fill_a_batch_change_nothing(config):
    """Neither the update nor the running statistics."""
    if config.uses_dropout:
        pytest.skip("dropout draws for every image of a batch")
    optimizer, update = train_step(config)
    state = step.create_state(variables_of(config), optimizer)
    full, filled = batch_of(2), batch_of(3, fill=1)
    for name in ("image", "label"):
        filled[name][:2] = full[name]
    (alone, loss), (beside, other_loss) = update(state, full), update(state, filled)
    np.testing.assert_allclose(loss, other_loss, rtol=1e-4)
    close(beside.variables, alone.variables)


@pytest.mark.slow
def test_images_that_fill_a_batch_do_not_reach_batch_norm():
    """The law above where it matters, dropout off."""
    config = dataclasses.replace(SMALL["unet, same, batch norm"], dropout=0.0)
    test_images_that_fill_a_batch_change_nothing(config)


@every_network
def test_running_statistics_move_in_training_only(config):
    """And those of a frozen backbone never."""
    optimizer, update = train_step(config)
    variables = variables_of(config)
    state, _ = update(step.create_state(variables, optimizer), batch_of(2))
    before, after = variables.get("batch_stats", {}), state.variables.get("batch_stats", {})
    assert jax.tree.structure(before) == jax.tree.structure(after)
    for name in before:
        same = jax.tree.leaves(
            jax.tree.map(lambda a, b: bool(np.array_equal(a, b)), before[name], after[name])
        )
        frozen = config.frozen and name == config.backbone.name
        assert all(same) if frozen else not any(same), name
    close(state.variables.get("frozen", {}), variables.get("frozen", {}), 0)
    image = images_of(1, SIZE)
    close(  # prediction uses what was saved: twice the same
        api.apply(config, state.variables, image), api.apply(config, state.variables, image), 0
    )


@every_network
def test_a_second_step_compiles_nothing(config):
    optimizer, update = train_step(config)
    state = devices.everywhere(step.create_state(variables_of(config), optimizer))
    for _ in range(2):
        state, loss = update(state, batch_of(2))
    assert np.isfinite(loss)
    assert update._cache_size() == 1


@pytest.mark.parametrize("label", ["unet, same, batch norm", "reseg, trained VGG with batch norm"])
def test_batch_statistics_are_the_whole_batchs_on_several_devices(label, row):
    config = SMALL[label]
    variables, image = variables_of(config), images_of(2, (24, 32))

    def statistics(variables, image):
        return api.build(config).logits(variables, image, (24, 32), train=True)[1]["batch_stats"]

    one = jax.jit(statistics)(variables, image)
    with jax.set_mesh(row):
        two = jax.jit(statistics)(variables, image)
    close(two, one)


def examples(count, sizes=((24, 28),)):
    return [
        Example(f"image{i}", image, np.minimum(image.mean(axis=-1) // 86, 2).astype(np.uint8))
        for i in range(count)
        for image in images_of(1, sizes[i % len(sizes)], seed=i)
    ]


# Frozen with statistics, trained, cut off at the end, and with statistics of its own.
@pytest.mark.slow
@pytest.mark.parametrize(
    "config",
    of_each(
        ["reseg, frozen VGG with batch norm", "fcn, 8s", "unet, valid", "unet, same, batch norm"]
    ),
)
def test_a_network_trains_resumes_and_is_loaded(config, tmp_path):
    """Two epochs on images of two sizes in one call and in two, then every way to use the run."""
    images = examples(5, sizes=((24, 28), (20, 30)))
    histories = {}
    for name, calls in (("once", (2,)), ("twice", (1, 2))):
        for epochs in calls:
            settings = TrainSettings(epochs=epochs, batch_size=2, buckets=2)
            run = About(config, settings, CLASSES)
            claim(tmp_path / name, run)
            start = api.init(config, jax.random.key(0))
            histories[name] = trainer.train(
                tmp_path / name, run, start, images, images[:2], tmp_path / "cache"
            )
    assert histories["once"] == histories["twice"]
    assert all(np.isfinite(epoch["train_loss"]) for epoch in histories["once"])
    runs = [load_run(tmp_path / name, "latest") for name in ("once", "twice")]
    close(runs[0].variables, runs[1].variables, 0)
    run = runs[0]
    assert (run.config, run.classes) == (config, CLASSES)

    image = images_of(1, (19, 23))[0]
    expected = reseg_jax.predict_probabilities(config, run.variables, image)
    np.testing.assert_allclose(expected.sum(axis=-1), 1, atol=1e-5)
    reseg_jax.save(tmp_path / "network.npz", config, run.variables, classes=CLASSES)
    saved = load_saved(tmp_path / "network.npz")
    assert (saved.config, saved.classes) == (config, CLASSES)
    close(saved.variables, run.variables, 0)
    found = reseg_jax.predict_probabilities(config, saved.variables, image)
    np.testing.assert_array_equal(found, expected)


@every_network
def test_views_and_samples_are_averaged(config):
    image, members = images_of(1, (20, 24))[0], [variables_of(config), random_variables(config, 1)]
    samples = 2 if config.uses_dropout else 0
    both = probabilities(config, members, image, Views(flip=True, scales=(1.0, 1.5)))
    sampled = probabilities(config, members, image, Views(samples=samples))
    for found in (both, sampled):
        assert found.shape == (20, 24, 3)
        np.testing.assert_allclose(found.sum(axis=-1), 1, atol=1e-5)
    once = probabilities(config, members, image)
    assert not samples or np.abs(sampled - once).max() > 1e-6


@every_network
def test_an_image_in_a_larger_array_gives_the_same_or_is_refused(config):
    image, variables = images_of(1, SIZE)[0], variables_of(config)
    if not config.exact_padding:
        with pytest.raises(reseg_jax.UserError, match="fill"):
            reseg_jax.predict(config, variables, image, padded_size=(32, 40))
        return
    alone = reseg_jax.predict_probabilities(config, variables, image)
    padded = reseg_jax.predict_probabilities(config, variables, image, padded_size=(32, 40))
    close(padded, alone, 1e-5)


@every_network
def test_a_network_starts_from_one_for_other_classes(config):
    other = dataclasses.replace(config, num_classes=5)
    trained, new = random_variables(config, 1), random_variables(other, 2)
    started = start_from(new, trained, other.class_layers)
    for collection, tree in started.items():
        for name, found in tree.items():
            source = new if name in other.class_layers else trained
            close(found, source[collection][name], 0)
    assert api.apply(other, started, images_of(1, SIZE)).shape[-1] == 5
