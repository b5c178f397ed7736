"""What the benchmark times: every program computes the same, torch's too."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.bench import formulations, network, ours, programs, shapes, torch_process
from experiments.bench.shapes import Layer
from reseg_jax import api
from reseg_jax.backbones.preprocessing import preprocess
from reseg_jax.backbones.vgg import VGG16
from reseg_jax.networks.reseg import ReSegConfig
from reseg_jax.recurrent.sweep import GATES
from reseg_jax.training import optimizers
from reseg_jax.training.losses import Loss
from reseg_jax.training.step import create_state, make_train_step
from tests.support import reference
from tests.support.reference import assert_close

# Its stride is 2, and its upsampling 2: as large as the frame again.
CONFIG, FINETUNED = (
    ReSegConfig(
        backbone=VGG16(trainable=trainable),
        tap="conv2_1",
        patch_sizes=((1, 1), (1, 1)),
        units=(3, 4),
        num_classes=5,
        upsample_sizes=((2, 2),),
        upsample_channels=(6,),
    )
    for trainable in (False, True)
)


@pytest.fixture(autouse=True)
def rank_promotion():
    """The other ways to write a sweep are as people write them: bias added to [T, N, G U]."""
    with jax.numpy_rank_promotion("allow"):
        yield


def tiny(cell):
    return Layer(batch=2, height=6, width=4, channels=3, units=5, patch=2, cell=cell)


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


@pytest.fixture(scope="module")
def torch_opponents():
    pytest.importorskip("torch", reason="torch is not installed")
    from experiments.bench import torch_opponents

    return torch_opponents


@pytest.mark.parametrize("layout", torch_process.LAYOUTS)
@pytest.mark.parametrize("cell", ["gru", "lstm", "rnn"])
def test_torch_computes_the_same_and_its_gradients(torch_opponents, cell, layout):
    import torch

    layer = tiny(cell)
    params, image, cotangent = programs.random_inputs(layer)
    module = torch_opponents.ReNet(3, 5, patch=2, cell=cell, layout=layout)
    torch_opponents.load_renet(module, params, cell)
    output, gradients = torch_opponents.differentiate(
        module,
        list(module.parameters()),
        torch.tensor(image, requires_grad=True),
        torch.tensor(cotangent),
        "input",
    )
    run = programs.in_mode(formulations.layer("Python loop", cell, 2), "input")
    expected, d_params, d_image = run(params, image, cotangent)
    assert_close(output.detach().numpy(), expected)
    assert_close(gradients[-1].numpy(), d_image)
    # The last sublayer's backward bias; torch's two biases have the same gradient except in a GRU.
    names = [name for name, _ in module.named_parameters()]
    found = gradients[names.index("horizontal.bias_ih_l0_reverse")].numpy()
    turned = np.repeat([1, -1, 1], 5) if cell == "gru" else 1
    assert_close(found * turned, d_params["horizontal"]["backward"]["bias"])


def test_torch_network_computes_the_same(torch_opponents):
    import torch

    variables = network.random_variables(CONFIG)
    frame = np.random.default_rng(0).integers(0, 256, (1, 8, 12, 3), np.uint8)
    vgg = torch_opponents.VGG(CONFIG)
    torch_opponents.load_vgg(vgg, variables["frozen"]["vgg"])
    head = torch_opponents.Head(CONFIG)
    torch_opponents.load_head(head, variables["params"], CONFIG)
    pixels = np.asarray(preprocess(frame, CONFIG.preprocessing))
    with torch.inference_mode():
        features = vgg(torch.tensor(pixels).permute(0, 3, 1, 2))
        logits = head(features)
    expected = api.features(CONFIG, variables, frame)[CONFIG.tap]
    assert_close(features.permute(0, 2, 3, 1).numpy(), expected, 1e-4)
    assert_close(logits.permute(0, 2, 3, 1).numpy(), api.apply(CONFIG, variables, frame), 1e-4)


@pytest.mark.parametrize("finetune", [False, True])
def test_torch_updates_as_we_do(torch_opponents, finetune):
    import torch

    config = FINETUNED if finetune else CONFIG
    variables = network.random_variables(config)
    batch = network.random_batch(config, 2, (8, 12))
    if finetune:
        batch["image"] = np.random.default_rng(0).integers(0, 256, (2, 8, 12, 3), np.uint8)
        inputs = np.asarray(preprocess(batch["image"], config.preprocessing))
    else:
        inputs = batch["image"][config.tap]
    step = make_train_step(api.build(config).logits, optimizers.make("adadelta"), Loss())
    first = create_state(variables, optimizers.make("adadelta"))
    state, loss = step(first, batch)
    params = jax.tree.map(np.asarray, state.variables["params"])

    if finetune:
        module = torch_opponents.Network(config)
        vgg, head = module
        torch_opponents.load_vgg(vgg, variables["params"]["vgg"])
    else:
        module = head = torch_opponents.Head(config)
    torch_opponents.load_head(head, variables["params"], config)
    their_loss = torch_opponents.update(
        module,
        torch_opponents.adadelta(module),
        torch.tensor(inputs).permute(0, 3, 1, 2),
        torch.tensor(batch["label"].astype(np.int64)),
    )
    np.testing.assert_allclose(float(their_loss), float(loss), rtol=1e-5)
    classifier = head[1].layers[-1]
    kernel = classifier.weight.detach().numpy()[:, :, 0, 0].T
    assert_close(kernel, params["classifier"]["kernel"], 1e-4)
    assert not np.allclose(kernel, variables["params"]["classifier"]["kernel"], rtol=1e-5)
    if finetune:
        kernel = vgg.layers[0].weight.detach().permute(2, 3, 1, 0).numpy()
        assert_close(kernel, params["vgg"]["conv1_1"]["kernel"], 1e-4)
        assert not np.allclose(kernel, variables["params"]["vgg"]["conv1_1"]["kernel"], rtol=1e-5)


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


def test_torch_answers_from_its_own_process(torch_opponents):
    process = torch_process.TorchProcess(", passive waiting")
    try:
        arguments = {"mode": "input", "layout": "time major", "compiled": False}
        program = process.program("layer", "layer", 1, layer=tiny("gru"), **arguments)
        assert 0 < program.run() < 60
        with pytest.raises(torch_process.TorchFailedError, match="nothing"):
            process.program("layer", "nothing", 1)
        process.forget()
        with pytest.raises(torch_process.TorchFailedError, match="layer"):
            program.run()
    finally:
        process.close()
