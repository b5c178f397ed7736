"""The parameters of the network: how many, named how, where, and their initial values.

The paper's sizes. Only shapes are looked at, without computing, but for initial values.
"""

import functools

import jax
import numpy as np
import pytest

from reseg_jax import api
from reseg_jax.backbones.vgg import VGG16
from reseg_jax.networks.reseg import ReSegConfig


def shapes(config):
    """{"params/renet_0/...": shape} of a network, without making it."""
    variables = jax.eval_shape(functools.partial(api.init, config), jax.random.key(0))
    leaves = jax.tree.leaves_with_path(variables)
    return {"/".join(key.key for key in path): leaf.shape for path, leaf in leaves}


@pytest.mark.parametrize(
    ("config", "count"),
    [
        (ReSegConfig(), 2_542_149),
        (ReSegConfig(cell="lstm"), 2_794_149),
        (ReSegConfig(cell="rnn"), 2_038_149),
        # Two gates of (256 + 1) 100 or (200 + 1) 100, no 100 x 100: 344,000 in place of 756,000.
        (ReSegConfig(cell="mingru"), 2_130_149),
        (ReSegConfig(patch_sizes=((2, 2), (1, 1))), 3_002_949),
        (ReSegConfig.no_vgg(), 660_261),
    ],
)
def test_parameter_counts(config, count):
    """Counted by hand from the paper's table 4."""
    assert sum(np.prod(shape) for shape in shapes(config).values()) == count


def test_parameter_names_and_shapes_are_those_documented():
    expected = {}
    for layer, inputs in enumerate((256, 200)):
        for pair, features in (("vertical", inputs), ("horizontal", 200)):
            for direction in ("forward", "backward"):
                place = f"params/renet_{layer}/{pair}/{direction}"
                expected[f"{place}/input_kernel"] = (features, 300)
                expected[f"{place}/recurrent_kernel"] = (100, 300)
                expected[f"{place}/bias"] = (300,)
    for layer, inputs in enumerate((200, 50)):
        expected[f"params/upsample_{layer}/kernel"] = (2, 2, inputs, 50)
        expected[f"params/upsample_{layer}/bias"] = (50,)
    expected |= {"params/classifier/kernel": (50, 11), "params/classifier/bias": (11,)}
    channels = {"conv1_1": (3, 64), "conv1_2": (64, 64), "conv2_1": (64, 128)}
    channels |= {"conv2_2": (128, 128), "conv3_1": (128, 256)}
    channels |= {"conv3_2": (256, 256), "conv3_3": (256, 256)}
    for name, ends in channels.items():
        expected[f"frozen/vgg/{name}/kernel"] = (3, 3, *ends)
        expected[f"frozen/vgg/{name}/bias"] = ends[1:]
    assert shapes(ReSegConfig()) == expected


def test_a_cell_that_does_not_read_its_state_has_no_recurrent_kernel():
    names = {name for name in shapes(ReSegConfig()) if not name.endswith("recurrent_kernel")}
    assert set(shapes(ReSegConfig(cell="mingru"))) == names


def test_order_decides_which_pair_reads_the_patches():
    found = shapes(ReSegConfig(order=("horizontal", "vertical")))
    assert found["params/renet_0/horizontal/forward/input_kernel"] == (256, 300)
    assert found["params/renet_0/vertical/forward/input_kernel"] == (200, 300)


def test_frozen_is_a_place():
    """Fine-tuning moves the VGG among the trained parameters; without a VGG there is neither."""
    frozen, tuned = shapes(ReSegConfig()), shapes(ReSegConfig(backbone=VGG16(trainable=True)))
    moved = {name.replace("frozen/", "params/"): shape for name, shape in frozen.items()}
    assert moved == tuned != frozen
    assert all(name.startswith("params/") for name in shapes(ReSegConfig.no_vgg()))


# --- initial values (paper, section 4.2) ---------------------------------------------------------


@pytest.fixture(scope="module")
def initial():
    """The no-VGG network's parameters in the paper's size."""
    return jax.tree.map(np.asarray, api.init(ReSegConfig.no_vgg(), jax.random.key(0)))["params"]


def directions(params):
    for layer in ("renet_0", "renet_1"):
        for pair in ("vertical", "horizontal"):
            yield from params[layer][pair].values()


def test_recurrent_kernels_are_orthonormal_gate_by_gate(initial):
    gates = [
        gate
        for kernels in directions(initial)
        for gate in np.split(kernels["recurrent_kernel"].astype(np.float64), 3, axis=1)
    ]
    for gate in gates:
        np.testing.assert_allclose(gate.T @ gate, np.eye(100), atol=1e-5)
    # 24 different matrices: rotations at random hardly agree.
    overlap = np.corrcoef([gate.ravel() for gate in gates]) - np.eye(len(gates))
    assert np.abs(overlap).max() < 0.1


def assert_glorot(kernel, fans):
    """Uniform within sqrt(6 / (fan in + fan out)): the bound is approached, the variance fits."""
    limit = np.sqrt(6 / fans)
    assert 0.98 * limit < np.abs(kernel).max() <= limit
    assert kernel.var() == pytest.approx(limit**2 / 3, rel=0.1)
    assert abs(kernel.mean()) < 0.05 * limit


def test_input_kernels_are_glorot_gate_by_gate(initial):
    """The fans of one gate, not of the three side by side."""
    for kernels in directions(initial):
        for gate in np.split(kernels["input_kernel"], 3, axis=1):
            assert_glorot(gate, sum(gate.shape))


def test_other_kernels_are_glorot_and_biases_zero(initial):
    """Limits 0.0775 and 0.1225, as the released code's layers have."""
    assert_glorot(initial["upsample_0"]["kernel"], (200 + 50) * 4)
    assert_glorot(initial["upsample_1"]["kernel"], (50 + 50) * 4)
    kernel = initial["classifier"]["kernel"]
    assert_glorot(kernel, 50 + 11)
    for path, leaf in jax.tree.leaves_with_path(initial):
        assert leaf.any() == (path[-1].key != "bias"), path


def test_init_is_a_function_of_the_key(initial):
    again, other = (api.init(ReSegConfig.no_vgg(), jax.random.key(seed)) for seed in (0, 1))
    jax.tree.map(np.testing.assert_array_equal, initial, again["params"])
    for ours, theirs in zip(directions(initial), directions(other["params"]), strict=True):
        for name in ("input_kernel", "recurrent_kernel"):
            assert not np.array_equal(ours[name], theirs[name])
