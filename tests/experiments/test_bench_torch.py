"""What the benchmark times of torch: it computes what we do."""

import jax
import numpy as np
import pytest

import reseg_jax
from experiments.bench import (
    convolutions,
    formulations,
    network,
    programs,
    throughput,
    timing,
    torch_process,
)
from reseg_jax import api
from reseg_jax.backbones.preprocessing import preprocess
from reseg_jax.training import optimizers
from reseg_jax.training.losses import Loss
from reseg_jax.training.step import create_state, make_train_step
from tests.support.benched import CONFIG, FINETUNED, tiny
from tests.support.reference import assert_close

torch = pytest.importorskip("torch", reason="torch is not installed")

from experiments.bench import torch_folder, torch_opponents, torch_runners, torch_weights  # noqa: E402


@pytest.fixture(autouse=True)
def rank_promotion():
    """The other ways to write a sweep are as people write them: bias added to [T, N, G U]."""
    with jax.numpy_rank_promotion("allow"):
        yield


@pytest.mark.parametrize("layout", torch_process.LAYOUTS)
@pytest.mark.parametrize("cell", ["gru", "lstm", "rnn"])
def test_torch_computes_the_same_and_its_gradients(cell, layout):
    layer = tiny(cell)
    params, image, cotangent = programs.random_inputs(layer)
    module = torch_opponents.ReNet(3, 5, patch=2, cell=cell, layout=layout)
    torch_weights.load_renet(module, params, cell)
    output, gradients = torch_runners.differentiate(
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


def test_torch_network_computes_the_same():
    variables = network.random_variables(CONFIG)
    frame = np.random.default_rng(0).integers(0, 256, (1, 8, 12, 3), np.uint8)
    vgg = torch_opponents.VGG(CONFIG.backbone, CONFIG.tap)
    torch_weights.load_vgg(vgg, variables["frozen"]["vgg"])
    head = torch_opponents.Head(CONFIG)
    torch_weights.load_head(head, variables["params"], CONFIG)
    pixels = np.asarray(preprocess(frame, CONFIG.preprocessing))
    with torch.inference_mode():
        features = vgg(torch.tensor(pixels).permute(0, 3, 1, 2))
        logits = head(features)
    expected = api.features(CONFIG, variables, frame)[CONFIG.tap]
    assert_close(features.permute(0, 2, 3, 1).numpy(), expected, 1e-4)
    assert_close(logits.permute(0, 2, 3, 1).numpy(), api.apply(CONFIG, variables, frame), 1e-4)


def test_the_loop_over_a_folder_predicts_what_we_do(tmp_path):
    throughput.write_frames(tmp_path / "frames", 2, (32, 48))
    images = torch_folder.Images(tmp_path / "frames")
    frames = torch.stack([pixels for _, pixels in images])
    variables = network.random_variables(CONFIG)
    logits = api.apply(CONFIG, variables, frames.permute(0, 2, 3, 1).numpy())
    variables["params"]["classifier"]["bias"] -= np.mean(logits, (0, 1, 2))  # no class prevails
    reseg_jax.save(tmp_path / "network.npz", CONFIG, variables)
    found = torch_folder.predict(
        torch_folder.load(tmp_path / "network.npz"), frames, torch.channels_last
    )
    expected = reseg_jax.predict(CONFIG, variables, frames.permute(0, 2, 3, 1).numpy())
    assert found.shape == (2, 32, 48) and len(np.unique(found)) > 1
    assert np.mean(found == expected) > 0.99  # but for ties


@pytest.mark.parametrize("finetune", [False, True])
def test_torch_updates_as_we_do(finetune):
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
        torch_weights.load_vgg(vgg, variables["params"]["vgg"])
    else:
        module = head = torch_opponents.Head(config)
    torch_weights.load_head(head, variables["params"], config)
    their_loss = torch_runners.update(
        module,
        torch_runners.adadelta(module),
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


def test_torch_answers_from_its_own_process():
    process = torch_process.TorchProcess(", passive waiting")
    try:
        arguments = {"mode": "input", "layout": "time major", "compiled": False}
        program = process.program("layer", "layer", 1, layer=tiny("gru"), **arguments)
        assert 0 < program.run() < 60
        layout = {"memory_format": "NHWC", "compiled": False}
        conv = convolutions.Conv(4, 6, 3, 5)
        more = {"conv": {"conv": conv, "mode": "input"}, "vgg": {"last": "conv1_2", "size": (6, 8)}}
        for kind, arguments in more.items():
            assert process.program(kind, kind, 1, **layout, **arguments).run() > 0
        with pytest.raises(timing.FailedError, match="nothing"):
            process.program("layer", "nothing", 1)
        process.forget()
        with pytest.raises(timing.FailedError, match="layer"):
            program.run()
    finally:
        process.close()
