"""VGG-16 against a convolution in plain loops, its maps and sizes, and how pixels enter."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from reseg_jax.backbones.preprocessing import preprocess
from reseg_jax.backbones.vgg import VGG, VGG16
from reseg_jax.backbones.vgg_layers import TAPS, VGG_LAYERS
from reseg_jax.errors import UserError
from reseg_jax.padding import clear
from tests.support import reference, reference_layers
from tests.support.reference import assert_close

CHANNELS = [64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]
SMALL = {"channels": (2, 3, 4, 5, 6), "fc_channels": 7}
NAMES = (  # every map, in the order of table 1 of the VGG paper, column D
    *("conv1_1", "conv1_2", "pool1", "conv2_1", "conv2_2", "pool2"),
    *("conv3_1", "conv3_2", "conv3_3", "pool3", "conv4_1", "conv4_2", "conv4_3", "pool4"),
    *("conv5_1", "conv5_2", "conv5_3", "pool5", "fc6", "fc7"),
)


def random_vgg(*taps, **changes):
    """A small VGG with random weights and biases: a missing one must show."""
    module, rng = VGG(VGG16(**(SMALL | changes)), taps), np.random.default_rng(0)

    def value(leaf):
        inputs = np.prod(leaf.shape[:-1]) if len(leaf.shape) > 1 else 10
        return rng.normal(size=leaf.shape, scale=(2 / inputs) ** 0.5).astype(np.float32)

    pixels = jax.ShapeDtypeStruct((1, 400, 400, 3), jnp.float32)  # enough without padding
    variables = jax.eval_shape(module.init, jax.random.key(0), pixels)
    assert set(variables) <= {"params", "batch_stats"}
    params = jax.tree.map(value, variables["params"])
    statistics = jax.tree.map(lambda x: np.exp(value(x)), variables.get("batch_stats", {}))
    return module, {"params": params, "batch_stats": statistics}


def random_pixels(*size):
    return np.random.default_rng(1).normal(size=(*size, 3)).astype(np.float32)


def by_loops(params, x, pools=5, centered=False, padding="SAME"):
    """Every map of preprocessed [B, H, W, 3].

    Of the poolings the first `pools` halve; of the others each doubles the dilation of what follows
    and is left out, or, if centered, takes the maxima around every cell.
    """
    maps, x, dilation = {}, x.astype(np.float64), 1
    for name in NAMES:
        if name.startswith("pool"):
            halves = int(name[-1]) <= pools
            if centered:
                x = reference_layers.max_pool_centered(x, 3, 2 if halves else 1)
            elif halves:
                x = reference_layers.max_pool(x)
            dilation *= 1 if halves else 2
        else:
            kernel, bias = params[name]["kernel"], params[name]["bias"]
            how = (padding, dilation if len(kernel) > 1 else 1)
            x = np.maximum(reference_layers.convolution(x, kernel, *how) + bias, 0)
        maps[name] = x
    return maps


def parameter_count(*taps):
    init = VGG(VGG16(), taps).init
    shapes = jax.eval_shape(init, jax.random.key(0), np.zeros((1, 32, 32, 3), np.float32))
    return sum(leaf.size for leaf in jax.tree.leaves(shapes))


@pytest.mark.parametrize(
    ("layer", "size"), [("conv1_1", (3, 5)), ("conv2_1", (6, 8)), ("conv4_1", (16, 8))]
)
def test_random_weights_equal_the_loops(layer, size):
    module, variables = random_vgg(layer)
    x = random_pixels(1, *size)
    found = module.apply(variables, x)[layer]
    assert_close(found[0], reference.vgg(variables["params"], x[0], layer), 1e-5)


@pytest.mark.parametrize("size", [(32, 64), (33, 39)])
def test_every_map_equals_the_loops(size):
    """Sizes that the stride does not divide, too: poolings round up."""
    module, variables = random_vgg(*NAMES)
    x = random_pixels(2, *size)
    found = jax.jit(module.apply)(variables, x)
    expected = by_loops(variables["params"], x)
    assert set(found) == set(NAMES)
    for name, value in found.items():
        channels, stride = module.config.tap(name)
        assert value.shape == (2, -(-size[0] // stride), -(-size[1] // stride), channels)
        assert_close(value, expected[name], 1e-5)


@pytest.mark.parametrize("changes", [{}, {"pool_size": 3}])
@pytest.mark.parametrize("output_stride", [8, 16])
def test_every_dilated_map_equals_the_loops(output_stride, changes):
    module, variables = random_vgg(*NAMES, output_stride=output_stride, **changes)
    x = random_pixels(1, 33, 41)
    found = jax.jit(module.apply)(variables, x)
    pools = {8: 3, 16: 4}[output_stride]
    expected = by_loops(variables["params"], x, pools, centered=bool(changes))
    for name, value in found.items():
        stride = module.config.tap(name).stride
        assert stride <= output_stride
        assert value.shape[1:3] == (-(-33 // stride), -(-41 // stride))
        assert_close(value, expected[name], 1e-5)


def test_without_padding_it_equals_the_loops():
    padding = {"padding": "VALID", "fc_padding": "VALID"}
    module, variables = random_vgg("conv1_1", "conv4_3", "conv5_1", output_stride=8, **padding)
    x = random_pixels(1, 132, 124)
    found = jax.jit(module.apply)(variables, x)
    names = NAMES[: NAMES.index("conv5_1") + 1]
    params = {name: variables["params"].get(name) for name in names}
    expected, y, dilation = {}, x, 1
    for name in names:
        if name.startswith("pool"):
            y = y if name == "pool4" else reference_layers.max_pool(y)
            continue
        dilation = 2 if name == "conv5_1" else 1
        y = reference_layers.convolution(y, params[name]["kernel"], "VALID", dilation)
        y = np.maximum(y + params[name]["bias"], 0)
        expected[name] = y
    assert found["conv5_1"].shape == (1, 2, 1, 6)
    for name, value in found.items():
        assert_close(value, expected[name], 1e-5)


def test_dilation_adds_cells_between_those_that_were_there():
    """With windows around pixels every second cell of conv5_3 is as without dilation."""
    coarse, variables = random_vgg("conv5_3", pool_size=3)
    x = random_pixels(1, 49, 65)
    expected = coarse.apply(variables, x)["conv5_3"]
    fine, _ = random_vgg("conv5_3", pool_size=3, output_stride=8)
    found = fine.apply(variables, x)["conv5_3"]
    assert (expected.shape[1:3], found.shape[1:3]) == ((4, 5), (7, 9))
    assert_close(found[:, ::2, ::2], np.asarray(expected), 1e-5)


def test_dilated_weights_are_the_same():
    """fc6 included: a file of VGG-16 fits."""
    pixels = np.zeros((1, 32, 32, 3), np.float32)
    usual, dilated = (
        jax.eval_shape(VGG(config, ("fc7",)).init, jax.random.key(0), pixels)
        for config in (VGG16(), VGG16(output_stride=8))
    )
    assert usual == dilated
    config = VGG16(output_stride=8)
    assert [config.dilation(name) for name in ("conv4_3", "conv5_1", "fc6")] == [1, 2, 4]


def test_maps_do_not_depend_on_which_are_asked_for():
    module, variables = random_vgg(*NAMES)
    x = random_pixels(1, 16, 16)
    everything = module.apply(variables, x)
    for taps in (("conv3_3", "conv1_2"), ("pool2", "conv2_2"), ("fc6",)):
        found = VGG(module.config, taps).apply(variables, x)
        assert tuple(found) == taps
        for name in taps:
            np.testing.assert_array_equal(found[name], everything[name])


def test_layers_are_those_of_column_d():
    """Thirteen convolutions; channels and strides of table 1 of the VGG paper."""
    names = [name for name in reference.VGG16 if name != "pool"]
    assert list(VGG_LAYERS) == names
    assert [channels for channels, _ in VGG_LAYERS.values()] == CHANNELS
    strides = [2 ** reference.VGG16[: reference.VGG16.index(name)].count("pool") for name in names]
    assert [stride for _, stride in VGG_LAYERS.values()] == strides


def test_taps_of_the_paper():
    assert TAPS == NAMES
    config = VGG16()
    assert {name: tuple(config.tap(name)) for name in VGG_LAYERS} == VGG_LAYERS
    assert [tuple(config.tap(f"pool{block}")) for block in range(1, 6)] == [
        *((64, 2), (128, 4), (256, 8), (512, 16), (512, 32)),
    ]
    assert config.tap("fc6") == config.tap("fc7") == (4096, 32)
    assert VGG16(**SMALL).tap("conv3_1").channels == 4


def test_layers_on_the_way_to_taps():
    config = VGG16()
    assert config.layers(("conv2_1", "conv1_1")) == ("conv1_1", "conv1_2", "conv2_1")
    assert config.layers(("pool1",)) == ("conv1_1", "conv1_2")
    assert config.layers(("conv1_1", "fc7")) == (*VGG_LAYERS, "fc6", "fc7")
    assert config.layers(()) == ()


def test_the_known_numbers_of_parameters():
    """14,714,688: the published size of the 13 convolutions. The others by hand.

    Seven convolutions are ReSeg's; fc6 has 7 x 7 x 512 inputs and fc7 4096.
    """
    assert parameter_count("conv5_3") == parameter_count("pool5") == 14_714_688
    assert parameter_count("conv3_3") == 1_735_488
    fc6, fc7 = (7 * 7 * 512 + 1) * 4096, (4096 + 1) * 4096
    assert parameter_count("fc6") == 14_714_688 + fc6
    assert parameter_count("fc7") == 14_714_688 + fc6 + fc7 == 134_260_544


def test_all_thirteen_layers_have_the_known_shapes(key):
    pixels = np.zeros((1, 32, 32, 3), np.float32)
    params = jax.eval_shape(VGG(VGG16(), ("conv5_3",)).init, key, pixels)["params"]
    inputs = [3, *CHANNELS[:-1]]
    shapes = {name: tree["kernel"].shape for name, tree in params.items()}
    expected = zip(VGG_LAYERS, inputs, CHANNELS, strict=True)
    assert shapes == {name: (3, 3, a, b) for name, a, b in expected}


# --- the classifier as convolutions ---------------------------------------------------------------


def test_fc6_is_a_dense_layer_on_a_7x7_map():
    """224 x 224 pixels are 7 x 7 cells at pool5, as in the classifier of the VGG paper."""
    module, variables = random_vgg("pool5", "fc6", "fc7", fc_padding="VALID")
    found = jax.jit(module.apply)(variables, random_pixels(2, 224, 224))
    assert found["pool5"].shape == (2, 7, 7, 6)
    x = np.asarray(found["pool5"], np.float64).reshape(2, 7 * 7 * 6)
    for name in ("fc6", "fc7"):
        layer = variables["params"][name]
        x = np.maximum(x @ layer["kernel"].reshape(-1, 7).astype(np.float64) + layer["bias"], 0)
        assert found[name].shape == (2, 1, 1, 7)
        assert_close(found[name][:, 0, 0], x, 1e-5)
        assert (x > 0).any()


def test_fcn_s_published_frame():
    """Conv1_1 padded by 100 pixels, poolings that round up, fc6 without padding.

    By hand for 500 x 375 pixels: 698, 349, 175, 88, 44, 22 and 573, 287, 144, 72, 36, 18.
    """
    module = VGG(VGG16(border=99, fc_padding="VALID"), ("conv1_1", "pool3", "pool4", "fc7"))
    pixels = jax.ShapeDtypeStruct((1, 500, 375, 3), jnp.float32)
    found, _ = jax.eval_shape(module.init_with_output, jax.random.key(0), pixels)
    assert {name: leaf.shape[1:3] for name, leaf in found.items()} == {
        "conv1_1": (698, 573),
        "pool3": (88, 72),
        "pool4": (44, 36),
        "fc7": (16, 12),
    }
    one = jax.ShapeDtypeStruct((1, 1, 1, 3), jnp.float32)  # enough for one cell
    found, _ = jax.eval_shape(module.init_with_output, jax.random.key(0), one)
    assert found["fc7"].shape == (1, 1, 1, 4096)


def test_border_is_conv1_1_padded_by_one_more_pixel():
    """FCN's released conv1_1: padded by 100 pixels and otherwise "VALID"."""
    module, variables = random_vgg("conv1_1", "fc7", border=99, fc_padding="VALID")
    params = variables["params"]
    x = random_pixels(1, 3, 2)
    found = module.apply(variables, x)
    x = np.pad(x, ((0, 0), (100, 100), (100, 100), (0, 0)))
    kernel, bias = params["conv1_1"]["kernel"], params["conv1_1"]["bias"]
    expected = np.maximum(reference_layers.convolution(x, kernel, "VALID") + bias, 0)
    assert_close(found["conv1_1"], expected, 1e-5)
    assert found["fc7"].shape == (1, 1, 1, 7)


def test_dropout_after_fc6_and_fc7(key):
    module, variables = random_vgg("pool5", "fc6", "fc7", fc_channels=400, dropout=0.25)
    x = random_pixels(1, 32, 32)
    kept = module.apply(variables, x)
    dropped = module.apply(variables, x, train=True, rngs={"dropout": key})
    np.testing.assert_array_equal(dropped["pool5"], kept["pool5"])
    fc6, before = np.asarray(dropped["fc6"]).ravel(), np.asarray(kept["fc6"]).ravel()
    zero = (fc6 == 0)[before > 0]
    assert 0.15 < zero.mean() < 0.35
    np.testing.assert_allclose(fc6[fc6 > 0], before[fc6 > 0] / 0.75, rtol=1e-6)
    assert (np.asarray(dropped["fc7"]) == 0).mean() > (np.asarray(kept["fc7"]) == 0).mean()


# --- batch normalization --------------------------------------------------------------------------


def test_batch_normalization_between_convolution_and_relu():
    module, variables = random_vgg("conv1_2", "pool1", batch_norm=True)
    params, statistics = variables["params"], variables["batch_stats"]
    assert set(params) == {"conv1_1", "bn1_1", "conv1_2", "bn1_2"}
    assert set(statistics) == {"bn1_1", "bn1_2"}
    x = random_pixels(3, 4, 6)
    weight = np.float32([1, 0, 1])
    options = {"train": True, "weight": weight, "mutable": ["batch_stats"]}
    trained, changed = module.apply(variables, x, **options)
    found = module.apply(variables, x)
    expected, ours = x, x[::2]
    for name in ("1_1", "1_2"):
        kernel, bias = params[f"conv{name}"]["kernel"], params[f"conv{name}"]["bias"]
        norm, before = params[f"bn{name}"], statistics[f"bn{name}"]
        expected = reference_layers.convolution(expected, kernel) + bias
        expected = np.maximum(reference_layers.batch_norm(expected, **norm, **before)[0], 0)
        ours = reference_layers.convolution(ours, kernel) + bias
        ours, mean, _ = reference_layers.batch_norm(ours, **norm)
        ours = np.maximum(ours, 0)
        moved = changed["batch_stats"][f"bn{name}"]["mean"]
        assert_close(moved, 0.9 * before["mean"] + 0.1 * mean, 1e-5)
    assert_close(found["conv1_2"], expected, 1e-5)
    assert_close(trained["conv1_2"][::2], ours, 1e-4)
    assert_close(trained["pool1"][::2], reference_layers.max_pool(ours), 1e-4)


def test_batch_normalization_of_all_layers():
    _, variables = random_vgg("fc7", batch_norm=True)
    names = [name.removeprefix("conv").removeprefix("fc") for name in (*VGG_LAYERS, "fc6", "fc7")]
    assert set(variables["batch_stats"]) == {f"bn{name}" for name in names}


# --- images that do not fill their array ----------------------------------------------------------


@pytest.mark.parametrize(
    ("taps", "changes", "stride"),
    [
        (("conv3_1", "conv1_2", "pool2"), {}, 4),
        (("conv3_1", "conv1_2", "pool2"), {"batch_norm": True}, 4),
        (("pool1", "conv5_3", "pool5"), {"output_stride": 8, "pool_size": 3}, 8),
    ],
)
def test_the_valid_part_gives_what_it_gives_by_itself(taps, changes, stride):
    module, variables = random_vgg(*taps, **changes)
    sizes = [(9, 6), (16, 12)]  # one does not fill its last cell
    valid_size = np.int32(sizes)
    x = np.asarray(clear(jnp.asarray(random_pixels(2, 24, 24)), valid_size))
    found = jax.jit(module.apply)(variables, x, valid_size=valid_size)
    for b, (height, width) in enumerate(-(-np.array(sizes) // stride) * stride):
        expected = module.apply(variables, x[b : b + 1, :height, :width])
        for name, value in expected.items():
            rows, columns = value.shape[1:3]
            ours = np.array(found[name][b : b + 1])
            assert_close(ours[:, :rows, :columns], np.asarray(value), 1e-5)
            ours[:, :rows, :columns] = 0
            assert (ours == 0).all()


# --- mistakes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channels": (2, 3)}, "channels"),
        ({"channels": (2, 3, 4, 5, 0)}, "channels"),
        ({"fc_channels": 0}, "fc_channels"),
        ({"fc_padding": "FULL"}, "fc_padding='FULL' is unknown; known are: SAME, VALID"),
        ({"border": -1}, "border"),
        ({"output_stride": 4}, "output_stride=4 is unknown; known are: 8, 16, 32"),
        ({"pool_size": 4}, "pool_size=4 is unknown; known are: 2, 3"),
        ({"padding": "FULL"}, "padding='FULL' is unknown; known are: SAME, VALID"),
        ({"dropout": 1.0}, "dropout"),
    ],
)
def test_a_wrong_config_is_refused(changes, message):
    with pytest.raises(UserError, match=message):
        VGG16(**changes)


def test_unknown_taps_are_refused():
    for ask in (VGG16().tap, lambda name: VGG16().layers((name,))):
        with pytest.raises(UserError, match=r"'conv6_1' is unknown; known are: conv1_1, .*fc7"):
            ask("conv6_1")


@pytest.mark.parametrize("changes", [{"output_stride": 16}, {"pool_size": 3}])
def test_only_poolings_of_2x2_pixels_have_switches(changes):
    with pytest.raises(UserError, match=r"tap=switches5: .*pool_size=2 and .*output_stride=32"):
        VGG16(**changes).tap("switches5")


@pytest.mark.parametrize(
    "changes", [{"border": 1}, {"fc_padding": "VALID"}, {"border": 0, "padding": "VALID"}]
)
def test_a_valid_size_needs_padding_that_keeps_the_size(changes):
    module, variables = random_vgg("fc6", **({"border": 99} | changes))
    with pytest.raises(UserError, match="leave out valid_size"):
        module.apply(variables, random_pixels(1, 32, 32), valid_size=np.int32([3, 3]))


# --- real weights ---------------------------------------------------------------------------------


def test_real_weights_equal_the_loops_on_a_real_crop(vgg_weights_path, real_data):
    frames = sorted((real_data / "camvid" / "train").glob("*"))
    if not frames:
        pytest.skip(f"no CamVid frames in {real_data}")
    with Image.open(frames[0]) as frame:
        crop = np.asarray(frame.convert("RGB"))[150:174, 200:224]
    with np.load(vgg_weights_path) as weights:
        params = {}
        for name in weights:
            layer, kind = name.split("/")
            params.setdefault(layer, {})[kind] = weights[name]
    pixels = preprocess(jnp.asarray(crop[None]), "torchvision")
    found = VGG(VGG16(), ("conv3_3",)).apply({"params": params}, pixels)["conv3_3"][0]
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    expected = reference.vgg(params, (crop / 255 - mean) / deviation, "conv3_3")
    assert expected.shape == (6, 6, 256)
    assert (expected > 0).mean() > 0.05
    assert_close(found, expected, 1e-4)


# --- how pixels enter -----------------------------------------------------------------------------

# One red-ish pixel, by hand; published constants of Caffe's and torchvision's models.
PIXEL = (200, 100, 50)
ENTERED = {
    "caffe": (50 - 103.939, 100 - 116.779, 200 - 123.68),
    "torchvision": (
        (200 / 255 - 0.485) / 0.229,
        (100 / 255 - 0.456) / 0.224,
        (50 / 255 - 0.406) / 0.225,
    ),
    "unit": (200 / 255, 100 / 255, 50 / 255),
}


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.int32])
@pytest.mark.parametrize("name", ENTERED)
def test_preprocessing_by_hand(name, dtype):
    images = np.full((1, 2, 2, 3), PIXEL, dtype)
    entered = preprocess(jax.numpy.asarray(images), name)
    assert entered.dtype == np.float32
    np.testing.assert_allclose(entered[0, 1, 0], ENTERED[name], rtol=1e-5)
