"""What a user waits for at first: imports, a command's first line, the quick start of the README.

Every run is a process of its own. Nothing of another library is comparable, so rows are compared
with the first one.
"""

import functools

from experiments.bench import commands, timing, torch_process
from experiments.bench.measuring import NO_TIME, Bench, Section
from experiments.bench.timing import FailedError, Program

TRAIN = ["-m", "experiments.train"]
EMPTY, WARM = "empty compilation cache", "warm compilation cache"

# Prints the seconds of a statement by a clock of `time`, after another statement.
_CLOCKED = """
import time
{before}
started = time.{clock}()
{statement}
print(time.{clock}() - started)
"""
_IMPORT = "import {}, wall clock"
_INIT = "init of ReSegConfig(), CPU seconds"


def section(bench: Bench, seconds: float) -> Section:
    """Seconds of imports, of `init`, and until a command prints its first line."""
    builders = {
        _IMPORT.format(name): functools.partial(statement_program, f"import {name}")
        for name in ("reseg_jax", "jax", *(["torch"] if torch_process.installed() else []))
    }
    before = "import jax, reseg_jax; config, key = reseg_jax.ReSegConfig(), jax.random.key(0)"
    statement = "jax.block_until_ready(reseg_jax.init(config, key))"
    builders[_INIT] = functools.partial(statement_program, statement, before, "process_time")
    builders["python -m experiments.train --help, first line"] = functools.partial(
        Program, lambda: commands.run([*TRAIN, "--help"], lines=1)[0]
    )
    builders["python -m experiments.train, first line"] = functools.partial(Program, _first_line)
    title = "start-up: seconds until something happens"
    rows, not_run = bench.time(title, builders, {}, seconds)
    reference = next(iter(builders))
    return Section(title, rows, not_run, about={"kind": "startup"}, reference=reference)


def quick_start(bench: Bench, seconds: float) -> Section:
    """The README's first training, all of it, before and after what XLA compiles is kept."""
    epochs = ["--epochs=1"] if bench.quick else []
    title = f"quick start: {' '.join(['python', *TRAIN, '--workdir=...', *epochs])}"
    bench.say(f"== {title}")
    found = Section(title, {}, {}, about={"kind": "quick start"}, reference=EMPTY)
    if not seconds:
        found.not_run["all"] = NO_TIME
        return found
    with commands.folder() as kept:

        def train(cache=None):
            with commands.folder() as folder:
                place = {"JAX_COMPILATION_CACHE_DIR": str(cache or folder / "compiled")}
                return commands.run([*TRAIN, f"--workdir={folder / 'run'}", *epochs], place)[0]

        programs = {EMPTY: Program(train), WARM: Program(functools.partial(train, kept))}
        try:
            bench.say("filling the cache")
            programs[WARM].run()
            times = timing.rounds(programs, 1 if bench.quick else bench.rounds, seconds, bench.say)
        except FailedError as error:
            found.not_run["all"] = str(error)
            return found
    for name, measured in times.items():
        found.rows[name] = {"seconds": measured, "compile_seconds": None, "memory": None}
    return found


def statement_program(statement, before="", clock="perf_counter"):
    """Seconds of a Python statement in a new process."""
    code = _CLOCKED.format(before=before, clock=clock, statement=statement)
    return Program(lambda: float(commands.run(["-c", code])[1][-1][1]))


def _first_line():
    with commands.folder() as folder:
        return commands.run([*TRAIN, f"--workdir={folder}"], lines=1)[0]
