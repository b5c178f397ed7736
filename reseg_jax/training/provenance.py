"""What a result was made with and on: versions, machine, commit."""

import datetime
import platform
import subprocess
from pathlib import Path

import flax
import jax

from reseg_jax.devices import cores


def describe() -> dict:
    """Plain data for JSON: time, versions, processor, cores, devices and commit."""
    return {
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": {
            "python": platform.python_version(),
            "jax": jax.__version__,
            "flax": flax.__version__,
        },
        "processor": processor(),
        "cores": cores(),
        "devices": [str(device.device_kind) for device in jax.devices()],
        "commit": commit(),
    }


def appended(before: dict | None) -> dict:
    """What this start of a run adds to what its earlier ones said.

    Args:
      before: what this function, or `describe` in older versions, gave at the start before; None
        at the first one.

    Returns:
      As `describe`; all that was before is in the list "earlier", oldest first.
    """
    if not before:
        return describe()
    return {**describe(), "earlier": starts(before)}


def starts(provenance: dict) -> list[dict]:
    """Every start of a run, oldest first, each as `describe` gives it."""
    newest = {name: value for name, value in provenance.items() if name != "earlier"}
    return [*provenance.get("earlier", []), newest]


def processor() -> str:
    """The processor's name as the system has it; may be empty."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            models = [line.partition(":")[2].strip() for line in lines if "model name" in line]
    except OSError:
        models = []
    return models[0] if models else platform.processor()


def commit(path: str | Path = __file__) -> str | None:
    """The commit of the checkout that `path`, a file, is tracked in; None where it is in none.

    Ends in "-dirty" where a tracked file differs from it. An installed package may lie inside a
    checkout of somebody else's, whose commit says nothing about it.
    """
    path = Path(path)
    if _git(path, "ls-files", "--error-unmatch", path.name) is None:
        return None
    return _git(path, "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty")


def _git(path, *arguments):
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=path.parent, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
