"""A folder of frames through the command `predict`, beside a DataLoader's loop in torch.

Both decode PNGs, predict with the same weights and write the labels as PNGs. The command writes
the labels in color and over the photo as well, which the loop does not. Both print a line for each
frame: all up to frame START is start-up (importing, reading the network, compiling).
"""

import functools
import pathlib

import numpy as np
from PIL import Image

import reseg_jax
from experiments.bench import commands, machine, network, torch_process
from experiments.bench.measuring import Bench, Section
from experiments.bench.ours import OURS
from experiments.bench.timing import Program
from experiments.bench.torch_process import MEMORY_FORMATS
from reseg_jax.networks.reseg import ReSegConfig

BATCHES = (1, 4)  # frames that torch predicts at once; the command takes them one by one
START = max(BATCHES)  # frames that end the start-up: whole batches


def section(bench: Bench, seconds: float) -> Section:
    """Seconds for the whole folder; a row's "rates" are frames per second after start-up."""
    frames, size = (8, (48, 64)) if bench.quick else (64, (360, 480))
    title = f"throughput: a folder of {frames} frames {size[1]}x{size[0]}"
    with commands.folder() as folder:
        write_frames(folder / "frames", frames, size)
        model = folder / "network.npz"
        config = ReSegConfig()
        reseg_jax.save(model, config, network.random_variables(config))
        places = {"model": model, "input": folder / "frames", "output": folder / "out"}
        rates = {}

        def program(name, module, **flags):
            arguments = ["-m", module, *(f"--{key}={value}" for key, value in flags.items())]
            rates[name] = []
            return Program(functools.partial(folder_seconds, arguments, frames, rates[name]))

        rivals = {
            (name := f"torch, {memory_format}, batches of {batch}"): functools.partial(
                program,
                name,
                "experiments.bench.torch_folder",
                **places,
                memory_format=memory_format,
                batch=batch,
                threads=machine.cores(),
            )
            for memory_format in (MEMORY_FORMATS[:1] if bench.quick else MEMORY_FORMATS)
            for batch in BATCHES
        }
        builders = {OURS: functools.partial(program, OURS, "experiments.predict", **places)}
        with_torch = torch_process.installed()
        rows, not_run = bench.time(title, builders, rivals if with_torch else {}, seconds)
        if not with_torch:
            not_run["torch"] = "torch is not installed (pip install torch)"
    for name, row in rows.items():  # the last runs are those of the rounds
        row["rates"] = rates[name][-len(row["seconds"]) :]
    about = {"kind": "throughput", "frames": frames, "size": size}
    return Section(title, rows, not_run, about=about)


def write_frames(folder: pathlib.Path, count: int, size: tuple[int, int]) -> None:
    """Writes `count` random but smooth PNGs of `size` (H, W): noise of 16 pixels, enlarged."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for index in range(count):
        noise = rng.integers(0, 256, (size[0] // 16, size[1] // 16, 3), np.uint8)
        smooth = Image.fromarray(noise).resize(size[::-1], Image.Resampling.BICUBIC)
        smooth.save(folder / f"frame_{index:03}.png")


def folder_seconds(arguments, frames, rates):
    """Seconds of a command in all; appends frames per second after the first START to `rates`."""
    seconds, printed = commands.run(arguments)
    times = [at for at, line in printed if "frame_" in line]
    rates.append((frames - START) / (times[-1] - times[START - 1]))
    return seconds
