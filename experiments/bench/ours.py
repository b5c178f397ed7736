"""The library's own layer in its settings, and the other ways to write it in JAX, by name.

A row's name is what the table prints. All rows are here, except torch's configurations
(`torch_process`).
"""

import functools
from collections.abc import Callable

import jax

from experiments.bench import flax_opponents, floor, formulations, programs
from experiments.bench.shapes import Layer
from experiments.bench.timing import Program
from reseg_jax.recurrent.linear_cells import LINEAR_CELLS
from reseg_jax.recurrent.renet import renet_layer

OURS = "ours"
ONE_DEVICE = "ours, one device"
WHOLE = "ours, unroll=True"
LOOP = "Python loop, jit"
EAGER = "Python loop, no jit"
FLOOR = "only the products"
FLAX = ("flax.linen.RNN", "flax.nnx.RNN")
AUTODIFF = f"scan, {next(iter(formulations.SCANS))}"  # ours except for the gradient

UNROLLED = "ours, unroll=8"


def names(layer: Layer, mode: str, few: bool) -> list[str]:
    """The rows of a table, the library's default first.

    Forward they are all settings and formulations. With gradients, unrolled loops compile for
    minutes (see the compile times), and of the formulations only the fastest is left.

    Args:
      layer: the layer.
      mode: a name in `shapes.MODES`.
      few: only the default and what a user would choose in place of it.

    Returns:
      Names that `program` takes.
    """
    scanned = layer.cell not in LINEAR_CELLS
    flax = [name for name in FLAX if layer.cell in flax_opponents.CELLS]
    rows = [OURS, *([ONE_DEVICE] if jax.device_count() > 1 else [])]
    if scanned:
        rows.append(FLOOR)
    if few:
        return [*rows, AUTODIFF, *flax[:1]]
    if scanned and mode != "forward":
        rows.append(f"{OURS}, remat")
    if layer.cell == "gru" and jax.default_backend() == "gpu":
        rows.append(f"{OURS}, pallas")
    if mode != "forward":
        return [*rows, AUTODIFF, *flax]
    if scanned:
        rows += [UNROLLED, WHOLE]
    return [*rows, *(f"scan, {name}" for name in formulations.SCANS), *flax, LOOP, EAGER]


def renet(layer: Layer, **options) -> Callable:
    """The library's `(params, image) -> [B, I, J, 2 U]`; `options` as in `renet_layer`."""
    patch_size = (layer.patch, layer.patch)
    return functools.partial(renet_layer, patch_size=patch_size, cell=layer.cell, **options)


def function(name: str, layer: Layer, params: dict) -> tuple[Callable, dict]:
    """`(params, image) -> [B, I, J, 2 U]` of a row, and its parameters made of ours."""
    if name == FLOOR:
        return functools.partial(floor.renet_layer, layer.cell, layer.patch), params
    if name == FLAX[0]:
        return flax_opponents.linen_layer(layer, params)
    if name == FLAX[1]:
        return flax_opponents.nnx_layer(layer, params)
    kind, _, detail = name.partition(", ")
    if kind == "scan":
        return formulations.layer(detail, layer.cell, layer.patch), params
    if kind == "Python loop":
        return formulations.layer(kind, layer.cell, layer.patch), params
    setting, _, value = detail.partition("=")
    options = {
        "unroll": {"unroll": True if value == "True" else int(value or 1)},
        "remat": {"remat": True},
        "pallas": {"implementation": "pallas"},
    }
    return renet(layer, **options.get(setting, {})), params


def program(name: str, layer: Layer, mode: str, inputs: tuple) -> Program:
    """Row `name` in a mode of `shapes.MODES`, on `inputs` of `programs.random_inputs`.

    All settings of ours, and only the products, run on all devices, which is the library's
    default; the others run on one device, with all of XLA's threads, which is JAX's.
    """
    divided = name == FLOOR or (name.startswith(OURS) and name != ONE_DEVICE)
    make = programs.eager if name == EAGER else programs.compiled

    def build():
        placed = programs.on_all(*inputs) if divided else programs.on_one(inputs)
        run, params = function(name, layer, placed[0])
        return make(programs.in_mode(run, mode), params, *placed[1:])

    return build() if divided else programs.confined_to_one_device(build)
