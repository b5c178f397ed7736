"""Which tables a run has: the names that --what takes, and the sections behind them."""

import functools
from collections.abc import Callable

from experiments.bench import (
    convolutions,
    measuring,
    network,
    sections,
    shapes,
    startup,
    throughput,
)
from reseg_jax.recurrent.linear_cells import LINEAR_CELLS

SHAPES = ("camvid", "pixels", "scaling")
GROUPS = {
    "sweeps": ("layer", "compile", "step", "finetune", "predict"),
    "predict": ("predict", "finetune"),
}
"""Names for several kinds of tables at once."""
COMMANDS = {"throughput", "startup"}
"""Kinds that time other processes only: nothing of torch needs to wait for them here."""


def known(shape: str) -> tuple[str, ...]:
    """What --what takes for a --shape; the first is the default."""
    own = {"pixels": ("layer", "compile"), "scaling": ("layer",)}
    others = ("conv", "throughput", "startup")
    return ("sweeps", *own.get(shape, (*GROUPS["sweeps"], *others)))


def kinds(shape: str, wanted: list[str]) -> list[str]:
    """The kinds of tables that names stand for, each once."""
    found = [kind for name in wanted for kind in GROUPS.get(name, (name,))]
    return [kind for kind in dict.fromkeys(found) if kind in known(shape)]


def plan(
    bench: measuring.Bench, shape: str, wanted: list[str], cells: list[str], batches: list[int]
) -> list[Callable]:
    """The sections to measure, each a `(seconds) -> Section`.

    Args:
      bench: how to measure.
      shape: a name in `SHAPES`.
      wanted: kinds of tables, from `kinds`.
      cells: recurrent cells of the layers.
      batches: images of the layers, but those of scaling.
    """
    if shape == "scaling":
        return [
            functools.partial(sections.layer, bench, layer, mode, grows=grows)
            for cell in cells
            for grows, layers in shapes.scaling(cell, bench.quick).items()
            for layer in layers
            for mode in ("forward", "input")
        ]
    lasts = convolutions.LAST[:1] if bench.quick else convolutions.LAST
    make = functools.partial(getattr(shapes, shape), quick=bench.quick)
    made = {
        "layer": lambda: [
            functools.partial(sections.layer, bench, make(batch, cell), mode)
            for cell in cells
            for batch in batches
            for mode in (("forward", "input") if bench.quick else shapes.MODES)
        ],
        "compile": lambda: [
            functools.partial(sections.compile_times, bench, make(1, cell))
            for cell in cells
            if cell not in LINEAR_CELLS
        ],
        "step": lambda: [functools.partial(sections.train_step, bench, False)],
        "finetune": lambda: [functools.partial(sections.train_step, bench, True)],
        "predict": lambda: [
            functools.partial(sections.predict, bench, part)
            for part in (network.PARTS[:1] if bench.quick else network.PARTS)
        ],
        "conv": lambda: (
            [
                functools.partial(sections.convolution, bench, conv, mode)
                for conv in convolutions.vgg(bench.quick)
                for mode in convolutions.MODES
            ]
            + [functools.partial(sections.vgg, bench, last) for last in lasts]
        ),
        "throughput": lambda: [functools.partial(throughput.section, bench)],
        "startup": lambda: [
            functools.partial(startup.section, bench),
            functools.partial(startup.quick_start, bench),
        ],
    }
    return [job for kind in wanted for job in made[kind]()]
