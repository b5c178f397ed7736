"""Commands in processes of their own, without the seconds that imports take.

A server imports a command's modules once, and forks a process for every call. No thread runs and
no device is open before the fork, so what it starts is what `python -m experiments.NAME` starts.
"""

import contextlib
import importlib
import json
import logging
import os
import resource
import select
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]


class Started:
    """A command at work.

    Attributes:
      process: its number.
    """

    def __init__(self, server: subprocess.Popen, name: str, flags: tuple, limit: int | None):
        self._server, self._arguments = server, [name, *flags]
        self._folder = tempfile.TemporaryDirectory()
        self._printed = [str(Path(self._folder.name) / name) for name in ("stdout", "stderr")]
        for path in self._printed:  # a process may be killed before it can make them
            Path(path).touch()
        request = json.dumps([flags, limit, *self._printed])
        server.stdin.write(f"{request}\n".encode())
        self.process = self._answer("process")

    def is_over(self, seconds: float = 0.0) -> bool:
        """Whether it has ended, or ends within `seconds`."""
        return bool(select.select([self._server.stdout], [], [], seconds)[0])

    def signal(self, number: int) -> None:
        """Send a signal; nothing happens if it has ended."""
        if not self.is_over():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process, number)

    def wait(self) -> subprocess.CompletedProcess:
        """The finished process, with what it printed."""
        status = self._answer("status")
        out, err = (Path(path).read_text(errors="replace") for path in self._printed)
        self._folder.cleanup()
        return subprocess.CompletedProcess(self._arguments, status, out, err)

    def _answer(self, word):
        """The number that the server sends after `word`."""
        answer = self._server.stdout.readline().decode().split()
        assert answer, f"{self._arguments[0]} could not be imported: see stderr"
        assert answer[0] == word, f"{answer} in place of a {word}"
        return int(answer[1])


class Forked:
    """The command `experiments.NAME`, started as often as it is called; a context manager."""

    def __init__(self, name: str, environment: Mapping[str, str]):
        self.module = f"experiments.{name}"
        self.server = subprocess.Popen(
            [sys.executable, "-m", __name__, self.module],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,  # so that `select` sees whatever has not been read
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.stdin.close()
        self.server.wait()
        self.server.stdout.close()

    def start(self, *flags: str, limit: int | None = None) -> Started:
        """Start the command; the one before must have been waited for.

        Args:
          *flags: of the command.
          limit: bytes that a file may have, as on a disk that is full.
        """
        return Started(self.server, self.module, flags, limit)

    def __call__(self, *flags: str) -> subprocess.CompletedProcess:
        """The finished process, with what it printed."""
        return self.start(*flags).wait()


def _serve(name):
    module = importlib.import_module(name)
    for line in sys.stdin:
        flags, limit, *printed = json.loads(line)
        child = os.fork()
        if not child:
            _become(module, flags, limit, printed)
        print("process", child, flush=True)
        _, status = os.waitpid(child, 0)
        print("status", os.waitstatus_to_exitcode(status), flush=True)


def _become(module, flags, limit, printed):
    from experiments import cli

    code, copying = 1, []
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for number, path in enumerate(printed, start=1):
            target = os.open(path, os.O_WRONLY | os.O_CREAT)
            if limit is not None:  # which what is printed must not meet: another process writes it
                copying.append(subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=target))
                target = copying[-1].stdin.fileno()
            os.dup2(target, number)
        if copying:  # streams over files know where they are, and ask pipes in vain
            sys.stdout, sys.stderr = (open(number, "w", closefd=False) for number in (1, 2))  # noqa: SIM115
            logging.root.handlers.clear()  # absl removes those only that write to sys.stderr
        # A shell starts what is in the background with SIGINT ignored, and that is inherited.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
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
        for number, copier in enumerate(copying, start=1):
            os.close(number)
            copier.stdin.close()
            copier.wait()
        os._exit(code)


if __name__ == "__main__":
    _serve(sys.argv[1])
