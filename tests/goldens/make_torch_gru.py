"""Make torch_gru.npz: what torch.nn.GRU answers, both ways, with our parameters beside it.

Needs torch, which the suite does not: `pip install torch==2.13.0 numpy`, then run this file.

torch writes, with two biases a gate and the gate z = 1 - u (docs of torch.nn.GRU),

    r, z = sigmoid(W_i x + b_i + W_h h + b_h);  n = tanh(W_in x + b_in + r * (W_hn h + b_hn))
    h' = (1 - z) * n + z * h

so it is the authors' GRU once the update gate's signs are turned, the biases are added up and
b_hn, which the authors do not have, is 0. Its matrices multiply from the left: transposed here.
"""

import pathlib

import numpy as np
import torch

STEPS, LINES, INPUTS, UNITS = 7, 3, 4, 5


def ours(gru, suffix):
    """torch's parameters of one direction under our names."""
    w_i, w_h, b_i, b_h = (
        getattr(gru, name + suffix).detach().numpy()
        for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    )
    # Both have the order reset, update, candidate.
    signs = np.repeat([1.0, -1.0, 1.0], UNITS)
    return {
        "input_kernel": w_i.T * signs,
        "recurrent_kernel": w_h.T * signs,
        "bias": (b_i + b_h) * signs,
    }


torch.manual_seed(0)
gru = torch.nn.GRU(INPUTS, UNITS, bidirectional=True).double()
with torch.no_grad():
    for name, parameter in gru.named_parameters():
        parameter.normal_(std=0.8)
        if name.startswith("bias_hh"):
            parameter[2 * UNITS :] = 0  # b_hn
    lines = torch.randn(STEPS, LINES, INPUTS, dtype=torch.float64)
    outputs, _ = gru(lines)

arrays = {"lines": lines.numpy(), "outputs": outputs.numpy()}  # outputs [T,N,2U], forward first
for direction, suffix in (("forward", ""), ("backward", "_reverse")):
    for name, value in ours(gru, suffix).items():
        arrays[f"{direction}/{name}"] = value
np.savez(pathlib.Path(__file__).with_name("torch_gru.npz"), **arrays)
