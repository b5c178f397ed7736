"""The sections of the report: each times one thing, all the ways to do it in the same rounds."""

import dataclasses
import math
import time
from collections.abc import Callable

import jax
import numpy as np

from experiments.bench import machine, network, ours, programs, shapes, timing
from experiments.bench.ours import ONE_DEVICE, OURS
from experiments.bench.shapes import Layer
from experiments.bench.timing import Program
from experiments.bench.torch_process import (
    LAYOUTS,
    MEMORY_FORMATS,
    Configuration,
    TorchFailedError,
)
from reseg_jax.config import ReSegConfig

# Of torch's configurations, those that go through all rounds; a trial of three runs chooses them.
SHORTLIST = 2

# Seconds that one compilation may take, as foreseen from the smaller grids.
COMPILE_LIMIT = 60.0
QUICK_COMPILE_LIMIT = 4.0

Builders = dict[str, Callable[[], Program]]


@dataclasses.dataclass
class Section:
    """What one table shows, and all that was measured for it.

    rows: {name: {"seconds": a round each, "compile_seconds", "memory" in bytes}}, ours first.
    not_run: {name: why}.
    flops, bytes: the least work of one run, where it is known.
    about: the numbers that the section is of.
    """

    title: str
    rows: dict[str, dict]
    not_run: dict[str, str]
    flops: float | None = None
    bytes: float | None = None
    about: dict = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Bench:
    """How to measure, and until when (`time.monotonic`); `say` tells what is under way."""

    rounds: int
    deadline: float
    torch: list[Configuration]
    torch_compile: bool
    quick: bool
    say: Callable[[str], None]
    rate: float | None = None  # FLOP/s of ours in the last section

    def left(self) -> float:
        """Seconds that are left of all."""
        return max(0.0, self.deadline - time.monotonic())

    def time(
        self, title: str, builders: Builders, torch_builders: Builders, seconds: float
    ) -> tuple[dict, dict]:
        """(rows, not_run) of a section.

        Builds all programs, chooses among torch's, and times what remains, in rounds. All of it
        should take `seconds`; the first round is finished in any case.
        """
        started = time.monotonic()
        self.say(f"== {title}")
        if not seconds:
            return {}, {"all": "no time left (--minutes)"}
        built, not_run = self._build(builders)
        rivals, failed = self._build(torch_builders)
        if len(rivals) > SHORTLIST:
            self.say(f"trying {len(rivals)} configurations of torch")
            best = timing.shortlist(rivals, SHORTLIST)
            failed |= dict.fromkeys(rivals.keys() - best.keys(), "slower in a trial")
            rivals = best
        left = seconds - (time.monotonic() - started)
        times = timing.rounds(built | rivals, self.rounds, left, self.say)
        for configuration in self.torch:
            configuration.process.forget()
        rows = {
            name: {
                "seconds": times[name],
                "compile_seconds": program.compile_seconds,
                "memory": program.memory,
            }
            for name, program in (built | rivals).items()
        }
        return rows, not_run | failed

    def _build(self, builders):
        built, not_run = {}, {}
        for name, build in builders.items():
            self.say(f"building {name}")
            try:
                program = build()
            except TorchFailedError as error:
                not_run[name] = str(error)
            except jax.errors.JaxRuntimeError as error:  # for example out of memory
                not_run[name] = str(error).splitlines()[0]
            else:
                if (program.memory or 0) > machine.memory():
                    not_run[name] = f"needs {program.memory / 2**30:.0f} GiB"
                else:
                    built[name] = program
        return built, not_run

    def torch_layer(self, layer: Layer, mode: str, layouts: tuple[str, ...]) -> Builders:
        """torch's nn.GRU and so on, in all its configurations."""
        if layer.cell not in ("gru", "lstm", "rnn"):
            return {}

        def builder(name, configuration, layout, compiled):
            return lambda: configuration.process.program(
                name,
                "layer",
                configuration.threads,
                layer=layer,
                mode=mode,
                layout=layout,
                compiled=compiled,
            )

        choices = [(layout, False) for layout in layouts]
        if self.torch_compile:
            choices.append((layouts[0], True))
        built = {}
        for configuration in self.torch:
            for layout, compiled in choices:
                kind = "torch.compile" if compiled else f"torch nn.{layer.cell.upper()}"
                name = f"{kind}, {layout}, {configuration.name}"
                built[name] = builder(name, configuration, layout, compiled)
        return built

    def torch_network(self, kind: str, **arguments) -> Builders:
        """The network, or its head in training, in all of torch's configurations."""

        def builder(name, configuration, memory_format):
            return lambda: configuration.process.program(
                name, kind, configuration.threads, memory_format=memory_format, **arguments
            )

        return {
            (name := f"torch, {memory_format}, {configuration.name}"): builder(
                name, configuration, memory_format
            )
            for configuration in self.torch
            for memory_format in MEMORY_FORMATS
        }


def layer(
    bench: Bench, layer: Layer, mode: str, seconds: float, grows: str | None = None
) -> Section:
    """A layer in all rows of `ours.names` and of torch; in few where it only shows growth."""
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
    runs = 2 * len(names) + 4 * len(torch)
    foreseen = runs * section.flops / bench.rate if bench.rate else 0.0
    if foreseen > bench.left():
        section.not_run["all"] = f"foreseen {foreseen:.0f} s, {bench.left():.0f} s left (--minutes)"
        return section
    for name in (ours.WHOLE, ours.LOOP):
        if name in names and mode != "forward":
            names.remove(name)
            section.not_run[name] = "compiles for long, see the compile times"
    inputs = programs.random_inputs(layer)
    builders = {name: lambda name=name: ours.program(name, layer, mode, inputs) for name in names}
    section.rows, not_run = bench.time(section.title, builders, torch, seconds)
    section.not_run |= not_run
    if section.rows:
        bench.rate = section.flops / np.median(section.rows[OURS]["seconds"])
    return section


def compile_times(bench: Bench, layer: Layer, seconds: float) -> Section:
    """Compile times at growing grids; `layer` is the last, which only a scan gets to.

    A row is a program in a mode; its "grids" are [steps of both sublayers, compile seconds].
    What is foreseen to compile for longer than the limit, or beyond `seconds`, is not run.
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
                left = min(limit, seconds - (time.monotonic() - started))
                foreseen = _foreseen(grids, steps)
                if foreseen >= left:
                    section.not_run[f"{label}, grid {height}x{width}"] = (
                        f"foreseen {foreseen:.0f} s, {left:.0f} s to spend"
                    )
                    break
                bench.say(f"compiling {label}, grid {height}x{width}")
                small = dataclasses.replace(
                    layer, height=height * layer.patch, width=width * layer.patch
                )
                program = ours.program(name, small, mode, programs.random_inputs(small))
                grids.append([steps, program.compile_seconds])
            section.rows[label] = {"grids": grids}
    return section


def _foreseen(grids, steps):
    """Seconds to compile `steps`, at the growth from the last grid but one to the last."""
    if len(grids) < 2:
        return 0.0
    (early, first), (late, last) = grids[-2:]
    power = max(0.0, math.log(last / first) / math.log(late / early))
    return last * (steps / late) ** power


def train_step(bench: Bench, seconds: float) -> Section:
    """One update of the CamVid head on cached features, batch 4, beside torch's."""
    config = ReSegConfig()
    batch, size = (2, (96, 120)) if bench.quick else (4, (360, 480))
    builders = _with_one_device(lambda: network.train_step(config, batch, size), bench.quick)
    rivals = bench.torch_network("step", config=config, batch=batch, size=size)
    title = f"training step: CamVid head, cached features of {batch} frames {size[1]}x{size[0]}"
    rows, not_run = bench.time(title, builders, rivals, seconds)
    return Section(title, rows, not_run, about={"kind": "step", "batch": batch, "size": size})


def predict(bench: Bench, part: str, seconds: float) -> Section:
    """One frame through the CamVid network with VGG, or a part of it, beside torch's."""
    config = ReSegConfig()
    size = (96, 120) if bench.quick else (360, 480)
    builders = _with_one_device(lambda: network.predict(config, size, part), bench.quick)
    rivals = bench.torch_network("predict", config=config, size=size, part=part)
    title = f"inference: {part}, one frame {size[1]}x{size[0]}"
    rows, not_run = bench.time(title, builders, rivals, seconds)
    return Section(title, rows, not_run, about={"kind": "predict", "part": part, "size": size})


def _with_one_device(build, quick):
    if jax.device_count() == 1 or quick:
        return {OURS: build}
    return {OURS: build, ONE_DEVICE: lambda: programs.held_to_one_device(build)}
