"""How a command begins and ends: with a result, or with one sentence that says what is wrong.

Exit codes: 0 done (also `--help`); 1 the user's mistake, a disk that refuses or a memory that is
full, reported in one line `error: ...` on stderr; 130 interrupted (128 + SIGINT, the shells'
convention). A traceback is always a bug in this project.
"""

import functools
import logging as standard_logging
import os
import sys
import threading
from collections.abc import Callable

import jax
from absl import app, flags, logging

from reseg_jax import devices
from reseg_jax.errors import UserError, first_line
from reseg_jax.files import atomic

_FULL = ("RESOURCE_EXHAUSTED", "out of memory", "failed to allocate")
# What XLA says, in any case, if an array has no room; divided over devices it calls that INTERNAL.

_MAX_MEGAPIXELS = flags.DEFINE_float(
    "max_megapixels", None, "largest image that is read [$RESEG_MAX_MEGAPIXELS, else 89]", 0
)


def run(main: Callable[[list[str]], None], computes: bool = True) -> None:
    """Parse the flags, call `main` and exit; the last line of a command's module.

    Every core and every GPU works. What XLA compiles is kept, so that the second call of a
    command starts in seconds.

    Args:
      main: the command.
      computes: in this process; otherwise no device is opened, and the process may be forked.
    """
    try:
        _start(main, computes)
    except KeyboardInterrupt:  # before `main` is at work, where `guarded` does this
        _leave_interrupted()


def _start(main, computes):
    print_anything()
    ask_for_huge_pages()
    _show_log()
    _leave_to_the_waiting()
    app.run(
        functools.partial(guarded, functools.partial(_begin, main, computes)), flags_parser=_parse
    )


def print_anything() -> None:
    """Names and classes in any script are printed on any terminal, if need be as escapes.

    A file name that is not UTF-8 is in Python a text that no terminal takes: an escape, too.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # else a test or a notebook has put its own there
            stream.reconfigure(errors="backslashreplace")


def _begin(main, computes, argv):
    if _MAX_MEGAPIXELS.value is not None:
        os.environ["RESEG_MAX_MEGAPIXELS"] = str(_MAX_MEGAPIXELS.value)
    if computes:
        use_devices()
    main(argv)


def use_devices() -> None:
    """`devices.use_all`; a UserError if JAX finds no device of the kind that is asked for."""
    try:
        devices.use_all()
    except (RuntimeError, AssertionError) as error:  # AssertionError: CUDA without its plugin
        names = (
            "JAX_PLATFORMS",
            "JAX_PLATFORM_NAME",
            "JAX_NUM_CPU_DEVICES",
            "CUDA_VISIBLE_DEVICES",
        )
        asked = ", ".join(f"{name}={os.environ[name]}" for name in names if name in os.environ)
        raise UserError(
            f"JAX finds no device{f' for {asked}' if asked else ''} "
            f"({first_line(error)}): unset that variable, or install JAX for this device"
        ) from error


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


def _leave_to_the_waiting() -> None:
    """What fails in a library's own thread is raised where its result is waited for, and said once.

    When a disk is full, tensorstore's threads each print a traceback and orbax logs three more.
    """
    shown = sys.unraisablehook

    def only_of_the_main_thread(error):
        if threading.current_thread() is threading.main_thread():
            shown(error)

    sys.unraisablehook = only_of_the_main_thread
    logging.get_absl_handler().addFilter(
        lambda record: not (record.exc_info and "orbax" in record.pathname)
    )


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
        if not isinstance(error, MemoryError) and not _is_full(error):
            raise
        reason = first_line(error) if str(error) else "no room for an array"
        _fail(
            f"out of memory ({reason}): in training give --set accumulate=N, which divides "
            "--batch_size, or fewer images, in evaluate and predict --tile=512 or smaller --scales"
        )
    except KeyboardInterrupt:
        _leave_interrupted()


def _leave_interrupted():
    print("interrupted", file=sys.stderr)
    sys.exit(130)


def _is_full(error):
    return any(words.lower() in str(error).lower() for words in _FULL)


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
