"""The ReNet layer as a Flax user writes it: a Bidirectional RNN along columns, then along rows.

Both read our parameters, converted: Flax's z is 1 - u, so its kernels and bias change sign.

Dimension key: `B H W C` image axes, `I J` rows and columns of patches, `U` units, `G` gates.
"""

import functools

import flax.linen as nn
import jax.numpy as jnp
from flax import nnx

from reseg_jax.recurrent.renet import to_patches

_LINEN = {"gru": nn.GRUCell, "lstm": nn.OptimizedLSTMCell, "rnn": nn.SimpleCell}
_NNX = {"gru": nnx.GRUCell, "lstm": nnx.OptimizedLSTMCell, "rnn": nnx.SimpleCell}
_GATES = {"gru": ("r", "z", "n"), "lstm": ("i", "f", "g", "o"), "rnn": ("",)}
_BIAS = {"gru": "input", "lstm": "recurrent", "rnn": "input"}  # the kernel that Flax adds it to

CELLS = tuple(_LINEN)
DIRECTIONS = ("vertical", "horizontal")


def _along(cells, direction, bidirectional):
    """`bidirectional` [lines, steps, D] -> [lines, steps, 2 U] along the columns or the rows."""
    if direction == "vertical":
        return _along(cells.swapaxes(1, 2), "horizontal", bidirectional).swapaxes(1, 2)
    lines = cells.reshape(-1, *cells.shape[2:])
    return bidirectional(lines).reshape(*cells.shape[:3], -1)


def linen_layer(layer, params):
    """`(function(params, image) -> [B, I, J, 2 U], params)` of `flax.linen.RNN`."""
    make = _LINEN[layer.cell]
    pair = nn.Bidirectional(nn.RNN(make(layer.units)), nn.RNN(make(layer.units)))

    def apply(params, image):
        cells = to_patches(image, (layer.patch, layer.patch))
        for direction in DIRECTIONS:
            bidirectional = functools.partial(pair.apply, {"params": params[direction]})
            cells = _along(cells, direction, bidirectional)
        return cells

    return apply, _convert(params, functools.partial(_linen_cell, layer.cell))


def nnx_layer(layer, params):
    """`(function(params, image) -> [B, I, J, 2 U], params)` of `flax.nnx.RNN`."""
    make, rngs = _NNX[layer.cell], nnx.Rngs(0)
    converted = _convert(params, functools.partial(_nnx_cell, layer.cell))
    rest, states = {}, {}
    for direction, features in zip(DIRECTIONS, layer.features, strict=True):
        ways = (nnx.RNN(make(features, layer.units, rngs=rngs)) for _ in range(2))
        graph, states[direction], others = nnx.split(nnx.Bidirectional(*ways), nnx.Param, ...)
        nnx.replace_by_pure_dict(states[direction], converted[direction])
        rest[direction] = graph, others

    def apply(states, image):
        cells = to_patches(image, (layer.patch, layer.patch))
        for direction in DIRECTIONS:
            graph, others = rest[direction]
            pair = nnx.merge(graph, states[direction], others, copy=True)
            cells = _along(cells, direction, pair)
        return cells

    return apply, states


def _convert(params, convert_cell):
    return {
        direction: {f"{way}_rnn": {"cell": convert_cell(pair[way])} for way in pair}
        for direction, pair in params.items()
    }


def _turned(cell, params):
    """Gates of a GRU in the form of Flax and torch: z = 1 - u = sigmoid(-(...))."""
    if cell != "gru":
        return params
    units = params["recurrent_kernel"].shape[0]
    sign = jnp.repeat(jnp.asarray([1, -1, 1], jnp.float32), units)
    return {name: value * sign for name, value in params.items()}


def _nnx_cell(cell, params):
    params = _turned(cell, params)
    read = {"kernel": params["input_kernel"]}
    recurrent = {"kernel": params["recurrent_kernel"]}
    (read if _BIAS[cell] == "input" else recurrent)["bias"] = params["bias"]
    return {"dense_i": read, "dense_h": recurrent}


def _linen_cell(cell, params):
    """One small Dense per gate; linen's GRU has a second bias at the candidate, 0 here."""
    fused = _nnx_cell(cell, params)
    gates = _GATES[cell]
    parts = {}
    for kind, dense in (("i", fused["dense_i"]), ("h", fused["dense_h"])):
        cut = {name: jnp.split(value, len(gates), axis=-1) for name, value in dense.items()}
        for index, gate in enumerate(gates):
            parts[kind + gate] = {name: pieces[index] for name, pieces in cut.items()}
    if cell == "gru":
        parts["hn"]["bias"] = jnp.zeros(params["recurrent_kernel"].shape[0])
    return parts
