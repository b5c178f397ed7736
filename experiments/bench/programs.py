"""JAX functions as programs to time: compiled ahead, with their compile time and memory."""

import functools
import math
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType

from experiments.bench.shapes import Layer
from experiments.bench.timing import Program, timed
from reseg_jax.devices import AXIS, everywhere, spread
from reseg_jax.layers.renet import ReNet


def compiled(function: Callable, *arguments) -> Program:
    """`function`, jitted or not, compiled for `arguments`, which stay on their devices.

    The program's memory is what the executable needs beside arguments and results, on all its
    devices.
    """
    function = function if hasattr(function, "lower") else jax.jit(function)
    started = time.perf_counter()
    executable = function.lower(*arguments).compile()
    seconds = time.perf_counter() - started
    analysis = executable.memory_analysis()
    devices = max(len(leaf.sharding.device_set) for leaf in jax.tree.leaves(arguments))
    memory = None if analysis is None else devices * analysis.temp_size_in_bytes
    return Program(functools.partial(_seconds, executable, arguments), seconds, memory)


def eager(function: Callable, *arguments) -> Program:
    """`function` as Python calls it: nothing is compiled ahead."""
    return Program(functools.partial(_seconds, function, arguments))


def _seconds(function, arguments):
    return timed(lambda: jax.block_until_ready(function(*arguments)))


def confined_to_one_device(build: Callable[[], Program]) -> Program:
    """The program that `build` makes, built and run on one device.

    See `reseg_jax.devices`: what runs on several devices by default runs only on the first.
    """

    def one_device():
        first = jax.devices()[:1]
        mesh = jax.make_mesh((1,), (AXIS,), axis_types=(AxisType.Auto,), devices=first)
        return jax.set_mesh(mesh)

    def run():
        with one_device():
            return program.run()

    with one_device():
        program = build()
    return program._replace(run=run)


def on_one(tree):
    """The arrays of `tree` on the first device."""
    return jax.device_put(tree, jax.devices()[0])


def on_all(params: dict, *images) -> tuple:
    """As in a network: weights on every device, images [B, H, W, C] divided over them."""
    return everywhere(params), *(spread(jnp.asarray(image)) for image in images)


def in_mode(layer_function: Callable, mode: str) -> Callable:
    """`(params, image, cotangent) -> output`, or with the gradients that `mode` asks for.

    The gradients are those of sum(output * cotangent); see `shapes.MODES`.
    """

    def forward(params, image, cotangent):
        return layer_function(params, image)

    def weights(params, image, cotangent):
        output, pull = jax.vjp(lambda params: layer_function(params, image), params)
        return output, *pull(cotangent)

    def weights_and_input(params, image, cotangent):
        output, pull = jax.vjp(layer_function, params, image)
        return output, *pull(cotangent)

    return {"forward": forward, "weights": weights, "input": weights_and_input}[mode]


def random_inputs(layer: Layer, seed: int = 0) -> tuple[dict, np.ndarray, np.ndarray]:
    """(params, image [B, H, W, C], cotangent [B, I, J, 2 U]) of a layer: NumPy float32."""
    renet = ReNet(layer.units, (layer.patch, layer.patch), layer.cell)
    pixel = jax.ShapeDtypeStruct((1, layer.patch, layer.patch, layer.channels), np.float32)
    rng = np.random.default_rng(seed)
    params = random_like(rng, renet.init, jax.random.key(0), pixel)["params"]
    image = rng.standard_normal(layer.image_shape, np.float32)
    return params, image, rng.standard_normal(layer.output_shape, np.float32)


def random_like(rng: np.random.Generator, init: Callable, *arguments) -> dict:
    """Weights of the shapes that `init(*arguments)` gives, which are not computed: NumPy, float32.

    Scaled by their rows, so that gates neither saturate nor stay in their linear range.
    """

    def normal(leaf):
        rows = max(1, math.prod(leaf.shape[:-1]))
        return rng.standard_normal(leaf.shape, np.float32) * np.float32(rows**-0.5)

    return jax.tree.map(normal, jax.eval_shape(init, *arguments))
