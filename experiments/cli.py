"""How a command begins and ends: with a result, or with one sentence that says what is wrong.

Exit codes: 0 done (also `--help`); 1 the user's mistake, a disk that refuses or a memory that is
full, reported in one line `error: ...` on stderr; 130 interrupted (128 + SIGINT, the shells'
convention). A traceback is always a bug in this project.
"""

import functools
import logging as standard_logging
import os
import sys
from collections.abc import Callable

import jax
from absl import app, flags, logging

from reseg_jax import devices
from reseg_jax.errors import UserError
from reseg_jax.files import atomic
from reseg_jax.files.download import cache_dir

_FULL = "RESOURCE_EXHAUSTED"  # what XLA begins its sentence with if an array has no room


def run(main: Callable[[list[str]], None]) -> None:
    """Parse the flags, call `main` and exit; the last line of a command's module.

    Every core and every GPU works. What XLA compiles is kept, so that the second call of a
    command starts in seconds.
    """
    ask_for_huge_pages()
    if jax.config.jax_compilation_cache_dir is None:
        jax.config.update("jax_compilation_cache_dir", str(cache_dir() / "compiled"))
    _show_log()
    devices.use_all()
    app.run(functools.partial(guarded, main), flags_parser=_parse)


def ask_for_huge_pages() -> None:
    """Start the command again, once, with pages of 2 MiB; only on Linux, and if nobody chose.

    A training step allocates hundreds of megabytes, which glibc returns to the system after each
    step and faults in again, page by page of 4 KiB, at the next (docs/performance.md). glibc reads
    the wish when a process starts. Setting GLIBC_TUNABLES, to anything, leaves it at that.
    """
    if sys.platform == "linux" and "GLIBC_TUNABLES" not in os.environ:
        os.environ["GLIBC_TUNABLES"] = "glibc.malloc.hugetlb=1"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _show_log():
    """The library's messages as plain lines on stderr; absl's would have a prefix."""
    log = standard_logging.getLogger("reseg_jax")
    log.addHandler(standard_logging.StreamHandler())
    log.setLevel(standard_logging.INFO)
    log.propagate = False


def guarded(main: Callable[[list[str]], None], argv: list[str]) -> None:
    """Call `main`; end the process with one line if the user, disk or memory is at fault."""
    try:
        main(argv)
    except UserError as error:
        _fail(error)
    except OSError as error:
        if error.errno not in atomic.ADVICE:
            raise
        _fail(f"{error.filename or 'a file'}: {atomic.explain(error)}")
    except (MemoryError, jax.errors.JaxRuntimeError) as error:
        if not isinstance(error, MemoryError) and _FULL not in str(error):
            raise
        reason = str(error).partition("\n")[0] or "no room for an array"
        _fail(
            f"out of memory ({reason}): in training give a smaller --batch_size or "
            "--set execution.remat=true, in evaluate and predict smaller --scales, as 0.5"
        )
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def _parse(argv):
    """absl's parser, but a line in place of its three, and no arguments without a flag."""
    if {"--help", "-h"} & set(argv[1:]):
        app.usage(shorthelp=True, writeto_stdout=True)
        sys.exit(0)
    try:
        argv = flags.FLAGS(argv)
    except flags.Error as error:
        _fail(f"{str(error).rstrip('.')} (--help lists the flags)")
    if argv[1:]:
        _fail(f"{' '.join(argv[1:])}: give every argument by a flag (--help lists them)")
    if flags.FLAGS["verbosity"].using_default_value:
        flags.FLAGS.verbosity = logging.WARNING  # libraries report their doings at INFO
    return argv


def _fail(message):
    print(f"error: {message}", file=sys.stderr)
    sys.exit(1)
