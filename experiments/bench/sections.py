"""The sections of the report: each times all ways to compute one thing in the same rounds."""

import dataclasses
import math
import time

import jax
import numpy as np

from experiments.bench import convolutions, network, ours, programs, shapes
from experiments.bench.convolutions import Conv
from experiments.bench.measuring import NO_TIME, Bench, Section
from experiments.bench.ours import ONE_DEVICE, OURS
from experiments.bench.shapes import Layer
from experiments.bench.torch_process import LAYOUTS
from reseg_jax.backbones.vgg import VGG16
from reseg_jax.networks.reseg import ReSegConfig

# Seconds that one compilation may take, as expected from the smaller grids.
COMPILE_LIMIT = 60.0
QUICK_COMPILE_LIMIT = 4.0


def layer(
    bench: Bench, layer: Layer, mode: str, seconds: float, grows: str | None = None
) -> Section:
    """A layer in all rows of `ours.names` and of torch; in few if it only shows growth."""
    few = bench.quick or grows is not None
    names = ours.names(layer, mode, few)
    torch = bench.torch_layer(layer, mode, LAYOUTS[:1] if few else LAYOUTS)
    section = Section(
        f"layer: {layer}; {shapes.MODES[mode]}",
        {},
        {},
        shapes.flops(layer, mode),
        shapes.bytes_moved(layer, mode),
        {"kind": "layer", "mode": mode, "grows": grows, **dataclasses.asdict(layer)},
    )
    # A first run and a round of each, the trial of torch's; ours as fast as in the last section.
    runs = 2 * len(names) + 3 * len(torch)
    expected = runs * section.flops / bench.rate if bench.rate else 0.0
    if why := bench.too_long(expected):
        section.not_run["all"] = why
        return section
    inputs = programs.random_inputs(layer)
    builders = {name: lambda name=name: ours.program(name, layer, mode, inputs) for name in names}
    section.rows, not_run = bench.time(section.title, builders, torch, seconds)
    section.not_run |= not_run
    if section.rows:
        bench.rate = section.flops / np.median(section.rows[OURS]["seconds"])
    return section


def compile_times(bench: Bench, layer: Layer, seconds: float) -> Section:
    """Compile times at growing grids; that of `layer` is the last, which only a scan reaches.

    A row is a program in a mode; its "grids" are [steps of both sublayers, compile seconds].
    What is expected to compile for longer than the limit, or beyond `seconds`, is not run.
    """
    started, (rows, columns) = time.monotonic(), layer.grid
    limit = QUICK_COMPILE_LIMIT if bench.quick else COMPILE_LIMIT
    sides = [(2, 2), (4, 4)] if bench.quick else [(4, 8), (8, 16), (16, 32), (32, 64)]
    title = f"compile time: {layer}; and smaller grids"
    bench.say(f"== {title}")
    section = Section(title, {}, {}, about={"kind": "compile", **dataclasses.asdict(layer)})
    names = [ONE_DEVICE if jax.device_count() > 1 else OURS, ours.WHOLE]
    if not bench.quick:
        names.append(ours.LOOP)
    for mode in ("forward", "input"):
        for name in names:
            label, grids = f"{name}; {mode}", []
            for height, width in [*sides, (rows, columns)]:
                steps = height + width
                left = seconds - (time.monotonic() - started)
                expected = _expected_seconds(grids, steps)
                if why := _too_long(expected, left, limit):
                    section.not_run[f"{label}, grid {height}x{width}"] = why
                    break
                bench.say(f"compiling {label}, grid {height}x{width}")
                small = dataclasses.replace(
                    layer, height=height * layer.patch, width=width * layer.patch
                )
                program = ours.program(name, small, mode, programs.random_inputs(small))
                grids.append([steps, program.compile_seconds])
            if grids:
                section.rows[label] = {"grids": grids}
    return section


def _too_long(expected, left, limit):
    """Why a compilation is not run; None if it is."""
    if left <= 0:
        return NO_TIME
    if expected >= left:
        return f"expected to take {expected:.0f} s, and {left:.0f} s are left for this table"
    if expected >= limit:
        return f"expected to take {expected:.0f} s, more than {limit:.0f} s"
    return None


def _expected_seconds(grids, steps):
    """Seconds to compile `steps`, at the growth from the last grid but one to the last."""
    if len(grids) < 2:
        return 0.0
    (early, first), (late, last) = grids[-2:]
    power = max(0.0, math.log(last / first) / math.log(late / early))
    return last * (steps / late) ** power


def train_step(bench: Bench, finetune: bool, seconds: float) -> Section:
    """One update of the CamVid head on cached features, or of the VGG as well, beside torch's."""
    config, whole = ReSegConfig(backbone=VGG16(trainable=finetune)), (360, 480)
    batch, size = (2, (96, 120)) if bench.quick else (2 if finetune else 4, whole)

    builders = _with_one_device(lambda: network.train_step(config, batch, size), bench.quick)
    if finetune:
        builders[network.XLA_GRADIENTS] = lambda: network.train_step(
            config, batch, size, network.logits_with_xla_gradients(config)
        )
    rivals = bench.torch_network("step", config=config, batch=batch, size=size)
    what = "CamVid network, VGG trained too," if finetune else "CamVid head, cached features of"
    title = f"training step: {what} {batch} frames {size[1]}x{size[0]}"
    rows, not_run = bench.time(title, builders, rivals, seconds, warm=True)
    kind = "finetune" if finetune else "step"
    return Section(title, rows, not_run, about={"kind": kind, "batch": batch, "size": size})


def predict(bench: Bench, part: str, seconds: float) -> Section:
    """One frame through the CamVid network with VGG, or a part of it, beside torch's."""
    config = ReSegConfig()
    size = (96, 120) if bench.quick else (360, 480)
    builders = _with_one_device(lambda: network.predict(config, size, part), bench.quick)
    if part in network.PARTS[:2] and not bench.quick:  # those with convolutions
        builders[network.NOT_PREPARED] = lambda: network.predict(config, size, part, False)
    rivals = bench.torch_network("predict", config=config, size=size, part=part)
    title = f"inference: {part}, one frame {size[1]}x{size[0]}"
    rows, not_run = bench.time(title, builders, rivals, seconds, warm=True)
    return Section(title, rows, not_run, about={"kind": "predict", "part": part, "size": size})


def convolution(bench: Bench, conv: Conv, mode: str, seconds: float) -> Section:
    """One of VGG-16's convolutions, beside XLA's and torch's."""
    inputs = convolutions.random_inputs(conv)
    builders = {
        name: lambda name=name: convolutions.program(name, mode, inputs)
        for name in convolutions.names()
    }
    rivals = bench.torch_convolutions("conv", conv=conv, mode=mode)
    work = f"{conv.flops(mode) / 1e9:.1f} GFLOP by the direct sum"
    title = f"3x3 convolution: {conv}; {shapes.MODES[mode]}, {work}"
    rows, not_run = bench.time(title, builders, rivals, seconds, warm=True, keep=None)
    about = {"kind": "conv", "mode": mode, **dataclasses.asdict(conv)}
    return Section(title, rows, not_run, about=about)


def vgg(bench: Bench, last: str, seconds: float) -> Section:
    """VGG-16 from one frame to its convolution `last`, beside XLA's and torch's."""
    size = (48, 64) if bench.quick else (360, 480)
    builders = {
        name: lambda name=name: convolutions.whole(name, last, size)
        for name in convolutions.names()
    }
    rivals = bench.torch_convolutions("vgg", last=last, size=size)
    title = f"VGG-16 to {last}: one frame {size[1]}x{size[0]}; forward"
    rows, not_run = bench.time(title, builders, rivals, seconds, warm=True, keep=None)
    return Section(title, rows, not_run, about={"kind": "vgg", "last": last, "size": size})


def _with_one_device(build, quick):
    if jax.device_count() == 1 or quick:
        return {OURS: build}
    return {OURS: build, ONE_DEVICE: lambda: programs.confined_to_one_device(build)}
