"""A process that runs programs of torch on request: the other end of `torch_process`.

One line of JSON in, one out:
  {"build": name, "kind": a name of RUNNERS, "threads": n, "with": its arguments}
      -> {"compile_seconds": the first run's with torch.compile, else null}
  {"run": name}    -> {"seconds": one run, to the end of its work}
  {"forget": true} -> {}: drops all programs
A failure answers {"error": one line}.
"""

import json
import sys

import torch

from experiments.bench import torch_runners
from experiments.bench.convolutions import Conv
from experiments.bench.shapes import Layer
from experiments.bench.timing import timed
from reseg_jax.files.config_json import from_dict
from reseg_jax.networks.reseg import ReSegConfig

_DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def main():
    print(json.dumps({"version": torch.__version__, "device": _device_name()}), flush=True)
    programs = {}
    for line in sys.stdin:
        try:
            answer = _answer(json.loads(line), programs)
        except Exception as error:  # torch.compile fails in many ways; each is one missing row
            answer = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
        print(json.dumps(answer), flush=True)


def _answer(message, programs):
    if "build" in message:
        arguments = dict(message["with"])
        if "layer" in arguments:
            arguments["layer"] = Layer(**arguments["layer"])
        if "conv" in arguments:
            arguments["conv"] = Conv(**arguments["conv"])
        if "config" in arguments:
            arguments["config"] = from_dict(ReSegConfig, arguments["config"])
        torch.set_num_threads(message["threads"])
        runner = torch_runners.RUNNERS[message["kind"]](**arguments, device=_DEVICE)
        programs[message["build"]] = message["threads"], runner
        compiles = arguments.get("compiled")
        return {"compile_seconds": timed(_to_the_end, runner) if compiles else None}
    if "run" in message:
        threads, runner = programs[message["run"]]
        torch.set_num_threads(threads)
        return {"seconds": timed(_to_the_end, runner)}
    programs.clear()
    return {}


def _to_the_end(runner):
    runner()
    if _DEVICE == "cuda":
        torch.cuda.synchronize()


def _device_name():
    return torch.cuda.get_device_name() if _DEVICE == "cuda" else "cpu"


if __name__ == "__main__":
    main()
