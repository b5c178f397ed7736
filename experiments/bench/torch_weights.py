"""Our weights in torch's modules: both compute the same, and predict the same labels."""

import torch

from experiments.bench.torch_opponents import VGG, Head, ReNet
from reseg_jax.networks.reseg import ReSegConfig


def load_renet(module: ReNet, params: dict, cell: str) -> None:
    """Our parameters (NumPy) into `module`: torch's z is 1 - u, and its second bias is 0."""
    for direction, pair in params.items():
        rnn = getattr(module, direction)
        for suffix, way in (("", "forward"), ("_reverse", "backward")):
            values = {name: torch.tensor(value) for name, value in pair[way].items()}
            if cell == "gru":
                units = values["recurrent_kernel"].shape[0]
                for value in values.values():
                    value[..., units : 2 * units] *= -1
            with torch.no_grad():
                getattr(rnn, f"weight_ih_l0{suffix}").copy_(values["input_kernel"].T)
                getattr(rnn, f"weight_hh_l0{suffix}").copy_(values["recurrent_kernel"].T)
                getattr(rnn, f"bias_ih_l0{suffix}").copy_(values["bias"])
                getattr(rnn, f"bias_hh_l0{suffix}").zero_()


def load_head(module: Head, params: dict, config: ReSegConfig) -> None:
    """Our head's parameters (NumPy) into `module`."""
    sweeps, upsampling = module
    for i, renet in enumerate(sweeps.layers):
        load_renet(renet, params[f"renet_{i}"], config.cell)
    *upsamplers, classifier = [layer for layer in upsampling.layers if hasattr(layer, "weight")]
    with torch.no_grad():
        for i, layer in enumerate(upsamplers):
            ours = params[f"upsample_{i}"]
            layer.weight.copy_(torch.tensor(ours["kernel"]).permute(2, 3, 0, 1))  # [C, F, h, w]
            layer.bias.copy_(torch.tensor(ours["bias"]))
        kernel = torch.tensor(params["classifier"]["kernel"])
        classifier.weight.copy_(kernel.T[:, :, None, None])
        classifier.bias.copy_(torch.tensor(params["classifier"]["bias"]))


def load_vgg(module: VGG, params: dict) -> None:
    """Our VGG's parameters (NumPy) into `module`."""
    convolutions = [layer for layer in module.layers if hasattr(layer, "weight")]
    with torch.no_grad():
        for layer, ours in zip(convolutions, params.values(), strict=True):
            layer.weight.copy_(torch.tensor(ours["kernel"]).permute(3, 2, 0, 1))
            layer.bias.copy_(torch.tensor(ours["bias"]))
