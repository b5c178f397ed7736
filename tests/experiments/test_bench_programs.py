"""What the benchmark times: every program computes the same."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.bench import convolutions, formulations, network, ours, programs, shapes
from experiments.bench.convolutions import Conv
from reseg_jax import api
from reseg_jax.recurrent.sweep import GATES
from tests.support import reference
from tests.support.benched import CONFIG, FINETUNED, tiny
from tests.support.reference import assert_close


@pytest.fixture(autouse=True)
def rank_promotion():
    """The other ways to write a sweep are as people write them: bias added to [T, N, G U]."""
    with jax.numpy_rank_promotion("allow"):
        yield


@pytest.mark.slow
@pytest.mark.parametrize("cell", GATES)
def test_every_row_computes_the_layer(cell):
    layer = tiny(cell)
    params, image, _ = programs.random_inputs(layer)
    expected = reference.renet_layer(params, image, (2, 2), cell)
    names = {name for mode in shapes.MODES for name in ours.names(layer, mode, few=False)}
    assert names >= {f"scan, {name}" for name in formulations.SCANS} | {ours.OURS, ours.LOOP}
    assert (cell == "mingru") == names.isdisjoint(ours.FLAX)
    for name in sorted(names - {ours.FLOOR}):
        function, converted = ours.function(name, layer, params)
        assert_close(function(converted, image), expected)


def test_only_the_products_are_a_recurrence_without_gates():
    layer = tiny("lstm")
    params, image, _ = programs.random_inputs(layer)
    function, _ = ours.function(ours.FLOOR, layer, params)
    cells = reference.to_patches(image, (2, 2))
    for direction, axis in (("vertical", 1), ("horizontal", 2)):
        swept = []
        for way, turn in (("forward", 1), ("backward", -1)):
            weights = {k: np.asarray(v, np.float64) for k, v in params[direction][way].items()}
            lines, state = np.moveaxis(cells, axis, 0)[::turn], 0
            states = []
            for x in lines:
                before = state @ weights["recurrent_kernel"] if states else 0
                every = x @ weights["input_kernel"] + weights["bias"] + before
                state = every.reshape(*every.shape[:-1], 4, layer.units).sum(-2)
                states.append(state)
            swept.append(np.moveaxis(np.stack(states)[::turn], 0, axis))
        cells = np.concatenate(swept, axis=-1)
    assert_close(function(params, image), cells)


@pytest.mark.slow
def test_modes_are_the_output_and_the_gradients_that_were_asked_for():
    layer = tiny("rnn")
    inputs = programs.random_inputs(layer)
    params, image, cotangent = map(jax.tree.map, [jnp.asarray] * 3, inputs)
    renet = ours.renet(layer)

    def scalar(params, image):
        return jnp.sum(renet(params, image) * cotangent)

    expected = jax.grad(scalar, argnums=(0, 1))(params, image)
    outputs = {m: programs.in_mode(renet, m)(params, image, cotangent) for m in shapes.MODES}
    assert_close(outputs["forward"], renet(params, image))
    assert [len(outputs[mode]) for mode in ("weights", "input")] == [2, 3]
    for found in (outputs["weights"][1:], outputs["input"][1:]):
        jax.tree.map(assert_close, found, expected[: len(found)])


@pytest.mark.parametrize("mode", convolutions.MODES)
def test_every_row_computes_the_convolution(mode):
    inputs = convolutions.random_inputs(convolutions.vgg(quick=True)[0])
    found = []
    for name in (ours.OURS, convolutions.XLA):
        function, params = convolutions.function(name, mode, inputs[0])
        assert ("transformed" in params) == (name == ours.OURS and mode == "forward")
        found.append(jax.jit(programs.in_mode(function, mode))(params, *inputs[1:]))
    jax.tree.map(lambda x, y: assert_close(x, y, 1e-4), *found)


def test_work_of_a_convolution_by_hand():
    conv = Conv(height=2, width=3, channels=4, features=5)
    assert conv.flops("forward") == 2 * 9 * 6 * 4 * 5
    assert conv.flops("input") == 3 * conv.flops("forward")
    assert convolutions.vgg(quick=False)[0].flops("forward") == 12_740_198_400


@pytest.mark.slow
def test_the_network_with_xla_gradients_is_ours():
    variables = network.random_variables(FINETUNED)
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 12, 3), np.uint8)
    weights = np.random.default_rng(1).normal(size=(2, 8, 12, 5)).astype(np.float32)

    def with_gradient(logits_fn):
        def loss(params):
            logits, _ = logits_fn(variables | {"params": params}, images, (8, 12), train=True)
            return jnp.sum(weights * logits), logits

        return jax.jit(jax.grad(loss, has_aux=True))(variables["params"])

    expected = with_gradient(api.build(FINETUNED).logits)
    found = with_gradient(network.logits_with_xla_gradients(FINETUNED))
    jax.tree.map(assert_close, found, expected)


@pytest.mark.slow
def test_parts_of_the_network_are_the_network():
    variables = network.random_variables(CONFIG)
    frame = np.random.default_rng(0).integers(0, 256, (1, 8, 12, 3), np.uint8)
    features = api.features(CONFIG, variables, frame)[CONFIG.tap]
    swept = network.sweeps(CONFIG, variables["params"], features)
    found = network.upsampling(CONFIG, variables["params"], swept)
    logits = api.apply(CONFIG, variables, frame)
    np.testing.assert_array_equal(found, logits.argmax(axis=-1))
