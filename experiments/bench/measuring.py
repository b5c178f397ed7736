"""How a section is measured: build what can be built, choose among torch's, time it in rounds."""

import dataclasses
import functools
import time
from collections.abc import Callable

import jax

from experiments.bench import machine, timing
from experiments.bench.ours import OURS
from experiments.bench.shapes import Layer
from experiments.bench.timing import FailedError, Program
from experiments.bench.torch_process import MEMORY_FORMATS, Configuration

# Of torch's configurations, those that go through all rounds; a trial chooses them.
SHORTLIST = 2

NO_TIME = "no time left (--minutes)"

Builders = dict[str, Callable[[], Program]]


@dataclasses.dataclass
class Section:
    """What one table shows, and all that was measured for it.

    Attributes:
      title: what is timed.
      rows: {name: {"seconds": one per round, "compile_seconds", "memory" in bytes}}, ours first.
      not_run: {name: why}.
      flops: the least work of one run, if it is known.
      bytes: the least traffic of one run, if it is known.
      about: the settings of the section.
      reference: the row that the others are compared with.
    """

    title: str
    rows: dict[str, dict]
    not_run: dict[str, str]
    flops: float | None = None
    bytes: float | None = None
    about: dict = dataclasses.field(default_factory=dict)
    reference: str = OURS


@dataclasses.dataclass
class Bench:
    """How to measure.

    Attributes:
      rounds: per section.
      deadline: when to end, of `time.monotonic`.
      torch: configurations to try; none without torch.
      torch_compile: try torch.compile too.
      quick: few rows and small grids.
      say: reports progress, one line.
      rate: FLOP/s of ours in the last section; None before it.
    """

    rounds: int
    deadline: float
    torch: list[Configuration]
    torch_compile: bool
    quick: bool
    say: Callable[[str], None]
    rate: float | None = None

    def left(self) -> float:
        """Seconds until the deadline, at least 0."""
        return max(0.0, self.deadline - time.monotonic())

    def too_long(self, expected: float) -> str | None:
        """Why something that is expected to take so many seconds is not run; None if it is."""
        left = self.left()
        if not left:
            return NO_TIME
        if expected > left:
            return f"expected to take {expected:.0f} s, and {left:.0f} s are left (--minutes)"
        return None

    def time(
        self,
        title: str,
        builders: Builders,
        torch_builders: Builders,
        seconds: float,
        warm: bool = False,
        keep: int | None = SHORTLIST,
    ) -> tuple[dict, dict]:
        """Builds all programs of a section, chooses among torch's, and times the rest in rounds.

        Args:
          title: of the section.
          builders: by row.
          torch_builders: by row; the fastest `keep` of them are timed.
          seconds: to spend on all of it; the first round is finished in any case.
          warm: as for `timing.rounds`.
          keep: of torch's rows; None keeps all.

        Returns:
          (rows, not_run) as `Section` has them.
        """
        started = time.monotonic()
        self.say(f"== {title}")
        if not seconds:
            return {}, {"all": NO_TIME}
        built, not_run = self._build(builders)
        rivals, failed = self._build(torch_builders)
        if keep and len(rivals) > keep:
            self.say(f"trying {len(rivals)} configurations of torch")
            best = timing.shortlist(rivals, keep)
            failed |= dict.fromkeys(rivals.keys() - best.keys(), "slower in a trial")
            rivals = best
        left = seconds - (time.monotonic() - started)
        times = timing.rounds(built | rivals, self.rounds, left, self.say, warm=warm)
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
                if (program.memory or 0) > machine.memory():
                    not_run[name] = f"needs {program.memory / 2**30:.0f} GiB"
                    continue
                program.run()  # page faults, caches, and memory that does not suffice after all
            except FailedError as error:
                not_run[name] = str(error)
            except jax.errors.JaxRuntimeError as error:  # for example out of memory
                not_run[name] = str(error).splitlines()[0]
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
                if compiled and configuration.threads < machine.cores():
                    continue  # half a minute and more each
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

    def torch_convolutions(self, kind: str, **arguments) -> Builders:
        """Convolutions in all of torch's configurations, as called and by torch.compile.

        torch.compile, which takes half a minute each time, only with torch's own way of waiting;
        with `quick` only once.
        """
        built = self.torch_network(kind, compiled=False, **arguments)
        for configuration in self.torch:
            if configuration.process is not self.torch[0].process:
                continue
            for memory_format in MEMORY_FORMATS:
                if self.quick and (configuration.threads, memory_format) != (1, MEMORY_FORMATS[-1]):
                    continue
                name = f"torch.compile, {memory_format}, {configuration.name}"
                built[name] = functools.partial(
                    configuration.process.program,
                    name,
                    kind,
                    configuration.threads,
                    memory_format=memory_format,
                    compiled=True,
                    **arguments,
                )
        return built
