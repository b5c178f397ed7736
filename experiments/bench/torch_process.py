"""torch beside JAX in one benchmark: in separate processes, whose runs interleave with ours.

How idle OpenMP threads wait is fixed when a process starts, and which way is faster depends on what
else uses the cores: nn.GRU along 90x120 on two cores took 75 ms with torch's default, which
spins, and 120 ms with passive waiting on a quiet machine, 500 and 165 ms on a busy one. A process
for each lets the same run try both. For JAX one process would do: its sweep took 30 ms with and
without torch's calls in between.
"""

import dataclasses
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import time
from typing import NamedTuple

from experiments.bench.convolutions import Conv
from experiments.bench.shapes import Layer
from experiments.bench.timing import FailedError, Program
from reseg_jax.files import config_json
from reseg_jax.networks.reseg import ReSegConfig

# Environments, by what they add to a row's name.
POLICIES = {"": {}, ", passive waiting": {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}}

# Seconds between a call of torch and what comes next, so that no program shares the cores with
# threads that still spin: libgomp's do so for some milliseconds (GOMP_SPINCOUNT, 300,000 rounds).
QUIET = 0.02

LAYOUTS = ("batch first", "time major")
MEMORY_FORMATS = ("NCHW", "NHWC")  # NHWC is torch.channels_last

ROOT = pathlib.Path(__file__).resolve().parents[2]


def installed() -> bool:
    """Whether torch is installed."""
    return importlib.util.find_spec("torch") is not None


class TorchProcess:
    """One process of torch, whose OpenMP threads wait by `policy` of `POLICIES`."""

    def __init__(self, policy: str):
        self._process = subprocess.Popen(
            [sys.executable, "-m", "experiments.bench.torch_server"],
            cwd=ROOT,
            # It imports our configs, and JAX with them, which must not take a GPU.
            env=os.environ | POLICIES[policy] | {"JAX_PLATFORMS": "cpu"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        hello = self._read()
        self.version, self.device = hello["version"], hello["device"]

    def program(self, name: str, kind: str, threads: int, **arguments) -> Program:
        """Builds runner `kind` of `torch_runners.RUNNERS` there, as something to time here."""
        message = {"build": name, "kind": kind, "threads": threads, "with": _as_json(arguments)}
        compile_seconds = self._ask(**message)["compile_seconds"]

        def run():
            seconds = self._ask(run=name)["seconds"]
            time.sleep(QUIET)
            return seconds

        return Program(run, compile_seconds)

    def forget(self) -> None:
        """Drop all programs and their memory."""
        self._ask(forget=True)

    def close(self) -> None:
        """End the process."""
        self._process.stdin.close()
        self._process.wait()

    def _ask(self, **message):
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self):
        line = self._process.stdout.readline()
        if not line:
            raise FailedError(f"its process ended with code {self._process.wait()}")
        answer = json.loads(line)
        if "error" in answer:
            raise FailedError(answer["error"])
        return answer


class Configuration(NamedTuple):
    """A way to run torch."""

    name: str
    process: TorchProcess
    threads: int


def configurations(processes: dict[str, TorchProcess], cores: int) -> list[Configuration]:
    """1, 2, 4, ... threads up to all cores, each way of waiting; on a GPU there is nothing to try.

    processes: {a policy of `POLICIES`: its process}; empty without torch.
    """
    if not processes:
        return []
    first = next(iter(processes.values()))
    if first.device != "cpu":
        return [Configuration("cuDNN", first, cores)]
    counts = sorted({cores} | {2**power for power in range(cores.bit_length()) if 2**power < cores})
    return [
        Configuration(_name(threads, policy), process, threads)
        for threads in counts
        for policy, process in processes.items()
        if threads > 1 or process is first  # one thread never waits
    ]


def _name(threads, policy):
    return "1 thread" if threads == 1 else f"{threads} threads{policy}"


def _as_json(arguments):
    """Shapes and configs as dicts for JSON."""
    return {
        name: dataclasses.asdict(value)
        if isinstance(value, Layer | Conv)
        else config_json.to_dict(value)
        if isinstance(value, ReSegConfig)
        else value
        for name, value in arguments.items()
    }
