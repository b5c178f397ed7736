"""The oracles of networks: what the paper's equations say, in NumPy float64 and plain loops.

Nothing is shared with `reseg_jax` except the names and layouts of the parameters, so that agreement
is evidence. Slow on purpose: every index of an equation is a loop.

    B H W C image axes, T steps of a line, N lines, D input features, U units, K classes
"""

import jax
import numpy as np


def float64(tree):
    """A parameter tree as NumPy float64."""
    if isinstance(tree, dict):
        return {name: float64(value) for name, value in tree.items()}
    return np.asarray(tree, np.float64)


# --- cells: one step of one line, x [D], h [U] ---------------------------------------------------


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def gates(params, count):
    """The fused parameters cut into (input kernel [D,U], recurrent kernel [U,U], bias [U]).

    Without the recurrent kernel if the cell has none.
    """
    units = params["bias"].size // count
    names = [name for name in ("input_kernel", "recurrent_kernel", "bias") if name in params]
    for gate in range(count):
        columns = slice(gate * units, (gate + 1) * units)
        yield tuple(params[name][..., columns] for name in names)


def gru_step(params, x, state):
    """Cho et al. 2014 in the authors' form: the reset gate acts after the recurrent product."""
    (h,) = state
    (w_r, u_r, b_r), (w_u, u_u, b_u), (w_c, u_c, b_c) = gates(params, 3)
    reset = sigmoid(x @ w_r + h @ u_r + b_r)
    update = sigmoid(x @ w_u + h @ u_u + b_u)
    candidate = np.tanh(x @ w_c + reset * (h @ u_c) + b_c)
    return ((1 - update) * h + update * candidate,)


def lstm_step(params, x, state):
    """Hochreiter & Schmidhuber 1997 with forget gates and without peepholes."""
    h, c = state
    (w_i, u_i, b_i), (w_f, u_f, b_f), (w_g, u_g, b_g), (w_o, u_o, b_o) = gates(params, 4)
    enter = sigmoid(x @ w_i + h @ u_i + b_i)
    keep = sigmoid(x @ w_f + h @ u_f + b_f)
    leave = sigmoid(x @ w_o + h @ u_o + b_o)
    c = keep * c + enter * np.tanh(x @ w_g + h @ u_g + b_g)
    return leave * np.tanh(c), c


def rnn_step(params, x, state):
    """Elman 1990."""
    (h,) = state
    return (np.tanh(x @ params["input_kernel"] + h @ params["recurrent_kernel"] + params["bias"]),)


def mingru_step(params, x, state):
    """Feng et al. 2024, section 3.1: the gates read only the input."""
    (h,) = state
    (w_u, b_u), (w_c, b_c) = gates(params, 2)
    update = sigmoid(x @ w_u + b_u)
    return ((1 - update) * h + update * (x @ w_c + b_c),)


STEPS = {  # step, state arrays
    "gru": (gru_step, 1),
    "lstm": (lstm_step, 2),
    "rnn": (rnn_step, 1),
    "mingru": (mingru_step, 1),
}
GATES = {"gru": 3, "lstm": 4, "rnn": 1, "mingru": 2}


def random_direction(rng, inputs, units, cell, scale=0.7):
    """Parameters of one direction of a sweep, far enough from 0 to leave the linear range."""
    width = GATES[cell] * units
    shapes = {"input_kernel": (inputs, width), "recurrent_kernel": (units, width), "bias": (width,)}
    if cell == "mingru":
        del shapes["recurrent_kernel"]
    return {name: rng.normal(size=shape, scale=scale) for name, shape in shapes.items()}


# --- sweeps and the ReNet layer (paper, section 3.1) ---------------------------------------------


def sweep(params, lines, cell="gru", reverse=False):
    """[T,N,D] -> [T,N,U]: each line from a zero state; reverse walks it from its end."""
    params, lines = float64(params), float64(lines)
    step, arrays = STEPS[cell]
    count, number, _ = lines.shape
    units = params["bias"].size // GATES[cell]
    outputs = np.full((count, number, units), np.nan)
    for n in range(number):
        state = tuple(np.zeros(units) for _ in range(arrays))
        for t in reversed(range(count)) if reverse else range(count):
            state = step(params, lines[t, n], state)
            outputs[t, n] = state[0]
    return outputs


def pair(params, x, axis, cell="gru", chained=False):
    """Both directions along the columns or rows of [B,I,J,D] -> [B,I,J,2U], forward first.

    chained: the backward sweep reads the output of the forward one.
    """
    batch, rows, columns, _ = x.shape
    units = params["forward"]["bias"].size // GATES[cell]
    out = np.full((batch, rows, columns, 2 * units), np.nan)
    for b in range(batch):
        if axis == "vertical":
            for j in range(columns):
                line = x[b, :, j][:, None]
                there = sweep(params["forward"], line, cell)
                back = sweep(params["backward"], there if chained else line, cell, reverse=True)
                out[b, :, j] = np.concatenate([there, back], axis=-1)[:, 0]
        else:
            for i in range(rows):
                line = x[b, i][:, None]
                there = sweep(params["forward"], line, cell)
                back = sweep(params["backward"], there if chained else line, cell, reverse=True)
                out[b, i] = np.concatenate([there, back], axis=-1)[:, 0]
    return out


def to_patches(x, patch_size):
    """[B,H,W,C] -> [B,I,J,hp*wp*C]: zeros below and to the right of what does not divide."""
    batch, height, width, channels = x.shape
    ph, pw = patch_size
    rows, columns = -(-height // ph), -(-width // pw)
    out = np.zeros((batch, rows, columns, ph * pw * channels), x.dtype)
    for b in range(batch):
        for y in range(height):
            for z in range(width):
                for c in range(channels):
                    place = ((y % ph) * pw + z % pw) * channels + c
                    out[b, y // ph, z // pw, place] = x[b, y, z, c]
    return out


def renet_layer(
    params, x, patch_size=(1, 1), cell="gru", order=("vertical", "horizontal"), chained=False
):
    params, x = float64(params), to_patches(float64(x), patch_size)
    for axis in order:
        x = pair(params[axis], x, axis, cell, chained)
    return x


# --- convolutions --------------------------------------------------------------------------------


def transposed_conv(x, kernel, bias):
    """[B,H,W,Cin] -> [B,H*h,W*w,Cout]: each cell gives its own h x w block (section 3.2)."""
    x, kernel, bias = float64(x), float64(kernel), float64(bias)
    batch, rows, columns, _ = x.shape
    h, w, _, channels = kernel.shape
    out = np.zeros((batch, rows * h, columns * w, channels))
    for b in range(batch):
        for i in range(rows):
            for j in range(columns):
                for dy in range(h):
                    for dx in range(w):
                        out[b, h * i + dy, w * j + dx] = x[b, i, j] @ kernel[dy, dx] + bias
    return out


def conv3x3_relu(x, kernel, bias):
    """[H,W,Cin] -> [H,W,Cout]: cross-correlation, one zero around the image, ReLU."""
    height, width, _ = x.shape
    out = np.zeros((height, width, kernel.shape[-1]))
    for y in range(height):
        for z in range(width):
            out[y, z] = bias
            for dy in (-1, 0, 1):
                for dx in (-1, 0, 1):
                    if 0 <= y + dy < height and 0 <= z + dx < width:
                        out[y, z] += x[y + dy, z + dx] @ kernel[dy + 1, dx + 1]
    return np.maximum(out, 0)


def max_pool(x):
    """[H,W,C] -> [H/2,W/2,C], 2x2."""
    height, width, channels = x.shape
    out = np.zeros((height // 2, width // 2, channels))
    for y in range(height // 2):
        for z in range(width // 2):
            out[y, z] = x[2 * y : 2 * y + 2, 2 * z : 2 * z + 2].max(axis=(0, 1))
    return out


VGG16 = (  # Simonyan & Zisserman 2015, table 1, column D; "pool" follows each block
    *("conv1_1", "conv1_2", "pool", "conv2_1", "conv2_2", "pool"),
    *("conv3_1", "conv3_2", "conv3_3", "pool", "conv4_1", "conv4_2", "conv4_3", "pool"),
    *("conv5_1", "conv5_2", "conv5_3"),
)


def vgg(params, image, last):
    """Preprocessed [H,W,3] -> activations after the ReLU of layer `last`."""
    params, x = float64(params), float64(image)
    for name in VGG16[: VGG16.index(last) + 1]:
        x = max_pool(x) if name == "pool" else conv3x3_relu(x, **params[name])
    return x


# --- comparing -----------------------------------------------------------------------------------


def assert_close(found, expected, relative=1e-5):
    """Within `relative` of the largest entry: single entries may be near 0."""
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=relative * np.abs(expected).max())


def assert_gradient(gradient, function, arguments, step=1e-5, relative=1e-6):
    """The tree `gradient` has the slopes of NumPy `function(arguments)`: central differences.

    One random direction per leaf, so that each entry counts, at two calls per leaf.
    """
    rng = np.random.default_rng(0)
    leaves, structure = jax.tree.flatten(arguments)
    for i, (leaf, slope) in enumerate(zip(leaves, structure.flatten_up_to(gradient), strict=True)):
        direction = rng.normal(size=leaf.shape)
        up, down = (
            function(structure.unflatten([*leaves[:i], leaf + move, *leaves[i + 1 :]]))
            for move in (step * direction, -step * direction)
        )
        expected = (up - down) / (2 * step)
        np.testing.assert_allclose(np.sum(np.asarray(slope) * direction), expected, rtol=relative)
