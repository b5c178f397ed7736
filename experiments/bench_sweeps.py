"""Time what the package computes beside other ways to compute it: XLA's, Flax's and torch's.

  python -m experiments.bench_sweeps --quick
  python -m experiments.bench_sweeps --shape=camvid --output=bench
  python -m experiments.bench_sweeps --shape=scaling
  python -m experiments.bench_sweeps --what=conv --quick
  python -m experiments.bench_sweeps --what=predict,throughput,startup --output=bench

--what=sweeps is a ReNet layer, its compile time and the network; conv the convolutions of VGG-16;
predict one frame and a fine-tuning step; throughput a folder of frames; startup what a user waits
for at first. Prints a table per section; with --output also writes results.json, with the times of
every round, and plot.png. Nothing else should run beside it. torch and matplotlib are optional
(pip install '.[bench]'); what is missing is named. Runs on CPUs and on GPUs, whatever JAX finds.
"""

import contextlib
import json
import os
import sys
import time
from pathlib import Path

import jax
from absl import flags

from experiments import cli
from experiments.bench import (
    machine,
    measuring,
    plan,
    plot,
    report,
    torch_process,
)
from reseg_jax.errors import UserError
from reseg_jax.files import atomic
from reseg_jax.recurrent.sweep import GATES

# Load per core (uptime's average of a minute) above which other programs take a share of the times:
# our choice.
BUSY = 0.25

_SHAPE = flags.DEFINE_enum("shape", "camvid", plan.SHAPES, "the layer's shape, or growth with it")
_CELL = flags.DEFINE_list("cell", "gru", f"of {','.join(GATES)}")
_BATCH = flags.DEFINE_list("batch", None, "images of a layer, not of scaling [1,4; --quick: 1]")
_WHAT = flags.DEFINE_list(
    "what", "sweeps", f"of {','.join(plan.known('camvid'))}; sweeps is layer to predict"
)
_QUICK = flags.DEFINE_bool("quick", False, "small grids, few rows and rounds: under two minutes")
_ROUNDS = flags.DEFINE_integer("rounds", None, "rounds per section [9; --quick: 3]", 1)
_MINUTES = flags.DEFINE_float(
    "minutes", None, "in all; what does not fit is left out, and reported [60; --quick: 1.5]", 0
)
_TORCH_COMPILE = flags.DEFINE_bool("torch_compile", False, "torch.compile too: a minute each")
_OUTPUT = flags.DEFINE_string("output", None, "folder for results.json and plot.png")


def main(_):
    wanted, cells, batches = checked_flags()
    jax.config.update(
        "jax_enable_compilation_cache", False
    )  # otherwise compile times would be those of reading it
    if _OUTPUT.value and not plot.installed():
        say("no plot: matplotlib is not installed (pip install matplotlib)")
    described = machine.describe()
    load = described["load at the start"] or 0
    if load > BUSY * described["cores"]:
        say(f"the machine is busy (load {load:.1f}): the times will vary, wait until it is idle")
    say("measuring the machine's peak")
    peak, bandwidth = machine.matmul_rate(), machine.copy_rate()
    say(f"{described['processor']}, {described['cores']} cores, devices {described['devices']}")
    say(f"float32 products {peak / 1e9:.0f} GFLOP/s, copies {bandwidth / 1e9:.1f} GB/s")
    minutes = (1.5 if _QUICK.value else 60) if _MINUTES.value is None else _MINUTES.value
    with contextlib.ExitStack() as stack:
        bench = measuring.Bench(
            rounds=_ROUNDS.value or (3 if _QUICK.value else 9),
            deadline=time.monotonic() + 60 * minutes,
            torch=[] if plan.COMMANDS.issuperset(wanted) else start_torch(stack),
            torch_compile=_TORCH_COMPILE.value,
            quick=_QUICK.value,
            say=say,
        )
        done = []
        jobs = plan.plan(bench, _SHAPE.value, wanted, cells, batches)
        for index, job in enumerate(jobs):
            done.append(job(seconds=bench.left() / (len(jobs) - index)))
            print(report.table(done[-1], peak, bandwidth), flush=True)
            results = {"machine": described | {"matmul FLOP/s": peak, "copy bytes/s": bandwidth}}
            write(results | {"flags": sys.argv[1:]}, done)
    if _SHAPE.value == "scaling":
        print(report.growth(done))


def checked_flags() -> tuple[list[str], list[str], list[int]]:
    """(kinds of tables, cells, batches) as asked for."""
    known = plan.known(_SHAPE.value)
    for flag, values, choices in (
        ("what", _WHAT.value, known),
        ("cell", _CELL.value, tuple(GATES)),
    ):
        for value in values:
            if value not in choices:
                raise UserError(
                    f"--{flag}={value} is unknown for --shape={_SHAPE.value}: "
                    f"give some of {','.join(choices)}"
                )
    batches = _BATCH.value or (["1"] if _QUICK.value else ["1", "4"])
    for value in batches:
        if not value.isdecimal() or int(value) < 1:
            raise UserError(f"--batch={value}: give numbers from 1, with commas between them")
    kinds = plan.kinds(_SHAPE.value, _WHAT.value)
    return kinds, _CELL.value, [int(value) for value in batches]


def start_torch(stack: contextlib.ExitStack) -> list[torch_process.Configuration]:
    """torch's configurations, in processes that end with `stack`; none if torch is missing."""
    if not torch_process.installed():
        say("no torch rows: torch is not installed (pip install torch)")
        return []
    processes = {}
    for policy in torch_process.POLICIES:
        processes[policy] = torch_process.TorchProcess(policy)
        stack.callback(processes[policy].close)
        say(f"torch {processes[policy].version} on {processes[policy].device}{policy}")
    return torch_process.configurations(processes, machine.cores())


def write(results: dict, done: list[measuring.Section]) -> None:
    """Writes what is known so far into --output."""
    if not _OUTPUT.value:
        return
    results["sections"] = [report.as_json(section) for section in done]
    text = json.dumps(results, indent=1) + "\n"
    atomic.write_file(Path(_OUTPUT.value) / "results.json", text.encode())
    if plot.installed():
        plot.draw(done, Path(_OUTPUT.value) / "plot.png")


def say(line: str) -> None:
    """Progress, with the seconds since the start."""
    print(f"[{time.monotonic() - _STARTED:4.0f} s] {line}", file=sys.stderr, flush=True)


_STARTED = time.monotonic()

if __name__ == "__main__":
    # Half of a GPU's memory is left to torch; read when JAX first asks for the device.
    os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.5")
    cli.run(main)
