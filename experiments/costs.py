"""What each network costs: parameters, FLOPs, milliseconds and memory of one prediction.

  python -m experiments.costs
  python -m experiments.costs --presets=camvid_unet,camvid_segnet --height=360 --width=480

Each preset is measured in a process of its own, one after the other, with random parameters and an
image of noise: neither changes the work. results/costs.json keeps what was measured before of the
presets that are not named, if the image and the machine were the same, and
`python -m experiments.results` prints all of it.
"""

import json
import multiprocessing
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import jax
import numpy as np
from absl import flags

import reseg_jax
from experiments import cli
from experiments.presets import PRESETS
from experiments.reporting import field
from reseg_jax import api, flops
from reseg_jax.errors import UserError, check_choice
from reseg_jax.files import atomic
from reseg_jax.training import epoch_logs, provenance

_PRESETS = flags.DEFINE_list("presets", None, "presets to measure [those of the table]")
_HEIGHT = flags.DEFINE_integer("height", 360, "of the image, in pixels", 1)
_WIDTH = flags.DEFINE_integer("width", 480, "of the image, in pixels", 1)
_REPEATS = flags.DEFINE_integer("repeats", 5, "predictions, whose median is taken", 1)
_OUTPUT = flags.DEFINE_string("output", None, "file to write [results/costs.json]")


def main(_):
    output = Path(_OUTPUT.value or field.COSTS)
    names = _PRESETS.value or list(field.presets())
    for name in names:
        check_choice("--presets", name, PRESETS)
    costs = field.read(output) if output.exists() else {}
    size = (_HEIGHT.value, _WIDTH.value)
    kept = costs.keys() - set(names)
    for name in names:
        costs[name] = _in_its_own_process(name, size, _REPEATS.value)
        check_alike(costs[name], {other: costs[other] for other in kept}, output)
        print(f"{name:32} {_line(costs[name])}")
        text = ",\n".join(f"{json.dumps(key)}: {json.dumps(costs[key])}" for key in sorted(costs))
        atomic.write_file(output, f"{{\n{text}\n}}\n".encode())
    print(f"written to {output}")


def check_alike(cost: dict, kept: dict[str, dict], output: Path) -> None:
    """A UserError if a new cost is not comparable with those that stay in the file `output`."""
    here = field.conditions(cost)
    for name, other in kept.items():
        if (there := field.conditions(other)) != here:
            raise UserError(
                f"{output} has {name} measured at {there}, and this was measured at {here}, which "
                "one table cannot compare: name another --output, or measure all presets again"
            )


def _in_its_own_process(name, size, repeats):
    """`measure` where no other network has left its programs or its memory."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, initializer=cli.use_devices) as process:
        try:
            return process.submit(measure, name, size, repeats).result()
        except BrokenProcessPool as error:
            raise UserError(
                f"--presets={name}: its process was ended, most likely for want of memory: close "
                "other programs, or give a smaller --height and --width"
            ) from error


def measure(preset: str, size: tuple[int, int], repeats: int) -> dict:
    """The costs of predicting one image, in this process.

    Args:
      preset: its name.
      size: (height, width) of the image.
      repeats: predictions that are timed, after one that compiles.

    Returns:
      parameters: of network and backbone, without running statistics.
      flops: of one image, as `reseg_jax.flops` counts them.
      milliseconds: the median from pixels to labels.
      megabytes: the largest resident size of the process.
      size, and where it was measured.
    """
    config = PRESETS[preset].config
    variables = jax.jit(lambda key: api.init(config, key))(jax.random.key(0))
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    shape = jax.ShapeDtypeStruct((1, *size, 3), np.uint8)
    work = flops.count(lambda v, x: api.apply(config, v, x), variables, shape)
    count = sum(
        leaf.size
        for collection in ("params", "frozen")
        for leaf in jax.tree.leaves(variables.get(collection, {}))
    )
    prepared = api.prepare(config, variables)
    reseg_jax.predict(config, prepared, image)
    seconds = []
    for _ in range(repeats):
        begun = time.perf_counter()
        reseg_jax.predict(config, prepared, image)
        seconds.append(time.perf_counter() - begun)
    return {
        "parameters": count,
        "flops": work,
        "milliseconds": round(1000 * statistics.median(seconds), 1),
        "megabytes": round(epoch_logs.peak_memory() / 1e6),
        "size": list(size),
        "provenance": provenance.describe(),
    }


def _line(cost):
    return (
        f"{cost['parameters'] / 1e6:8.3f} M parameters {cost['flops'] / 1e9:8.1f} GFLOPs "
        f"{cost['milliseconds']:8.0f} ms {cost['megabytes']:6} MB"
    )


if __name__ == "__main__":
    cli.run(main, computes=False)
