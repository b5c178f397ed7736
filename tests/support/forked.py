"""Commands in processes of their own, without the seconds that imports take.

A server imports a command's modules once, and forks a process for every call. No thread runs and
no device is open before the fork, so what it starts is what `python -m experiments.NAME` starts.
"""

import contextlib
import importlib
import json
import os
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

ROOT = Path(__file__).parents[2]


class Forked:
    """The command `experiments.NAME`, started as often as it is called; a context manager."""

    def __init__(self, name: str, environment: dict[str, str]):
        self.module = f"experiments.{name}"
        self.server = subprocess.Popen(
            [sys.executable, "-m", __name__, self.module],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.stdin.close()
        self.server.wait()
        self.server.stdout.close()

    def __call__(self, *flags) -> subprocess.CompletedProcess:
        """The finished process, with what it printed."""
        with tempfile.TemporaryDirectory() as folder:
            printed = [str(Path(folder) / name) for name in ("stdout", "stderr")]
            print(json.dumps([flags, *printed]), file=self.server.stdin, flush=True)
            status = self.server.stdout.readline()
            assert status, f"{self.module} could not be imported: see stderr"
            out, err = (Path(path).read_text() for path in printed)
        return subprocess.CompletedProcess([self.module, *flags], int(status), out, err)


def _serve(name):
    module = importlib.import_module(name)
    for line in sys.stdin:
        flags, *printed = json.loads(line)
        child = os.fork()
        if not child:
            _become(module, flags, printed)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _become(module, flags, printed):
    from experiments import cli

    code = 1
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for number, path in enumerate(printed, start=1):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
        sys.argv = [module.__file__, *flags]
        sys.modules["__main__"].__doc__ = module.__doc__
        cli.run(module.main)
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(bool(error.code))
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve(sys.argv[1])
