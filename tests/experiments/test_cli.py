"""How commands end: exit code, stderr and stdout; flags and one error in a real process."""

import errno
import io
import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import cli
from reseg_jax.errors import UserError

ROOT = pathlib.Path(__file__).resolve().parents[2]

SCRIPT = '''"""Greets, in 100 % of the cases."""
import os
from absl import flags, logging
from experiments import cli
from reseg_jax.errors import UserError

WORD = flags.DEFINE_enum("word", "hello", ["hello", "bye", "tunables"], "What to say.")

def main(argv):
    logging.info("a library reports its doings")
    if WORD.value == "bye":
        raise UserError("cat.png is empty")
    print(repr(os.environ["GLIBC_TUNABLES"]) if WORD.value == "tunables" else WORD.value)

if __name__ == "__main__":
    cli.run(main)
'''


@pytest.fixture(scope="module")
def greet(tmp_path_factory):
    script = tmp_path_factory.mktemp("script") / "greet.py"
    script.write_text(SCRIPT)

    def run(*arguments, tunables=None):
        environment = {k: v for k, v in os.environ.items() if k != "GLIBC_TUNABLES"}
        environment |= {"PYTHONPATH": str(ROOT)}
        environment |= {} if tunables is None else {"GLIBC_TUNABLES": tunables}
        return subprocess.run(
            [sys.executable, str(script), *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--word=bye"], ("cat.png is empty",)),
        (["--word=hi"], ("--word=hi", "hello", "bye", "--help")),
        (["--wrod=bye"], ("wrod", "--help")),
        (["hello", "you"], ("hello you", "by a flag", "--help")),
    ],
)
def test_what_is_wrong_is_one_sentence(greet, arguments, parts):
    done = greet(*arguments)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    for part in parts:
        assert part in line


@pytest.mark.slow
@pytest.mark.parametrize("name", ["JAX_NUM_CPU_DEVICES", "JAX_ENABLE_X64"])
def test_a_variable_that_jax_refuses_is_one_sentence(name):
    done = subprocess.run(
        [sys.executable, "-m", "experiments.predict"],
        cwd=ROOT,
        env=os.environ | {name: "abc"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: JAX does not start") and name in line.upper() and "abc" in line


def test_a_result_is_on_stdout_and_nothing_on_stderr(greet):
    done = greet()
    assert (done.returncode, done.stdout, done.stderr) == (0, "hello\n", "")


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc has this wish")
@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "after"), [(None, "glibc.malloc.hugetlb=1"), ("", ""), ("glibc.malloc.check=0",) * 2]
)
def test_a_command_asks_for_huge_pages_once_and_if_nobody_chose(greet, before, after):
    """It starts again with the same flags; a loop would never end."""
    done = greet("--word=tunables", tunables=before)
    assert (done.returncode, done.stdout) == (0, f"{after!r}\n")


def test_help_shows_the_docstring_and_the_flags_of_the_command(greet):
    done = greet("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Greets, in 100 % of the cases.")
    assert "What to say." in done.stdout
    assert "--verbosity" not in done.stdout


@pytest.mark.parametrize(
    ("raised", "code", "sentence"),
    [
        (UserError("cat.png is empty"), 1, "error: cat.png is empty\n"),
        (
            OSError(errno.ENOSPC, "No space left on device", "run/metrics.jsonl"),
            1,
            "error: run/metrics.jsonl: No space left on device; "
            "free some space there or choose another folder\n",
        ),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    ],
)
def test_the_exit_code_and_the_sentence_of_what_main_raises(capsys, raised, code, sentence):
    def main(argv):
        raise raised

    with pytest.raises(SystemExit) as ended:
        cli.guarded(main, [])
    assert (ended.value.code, capsys.readouterr().err) == (code, sentence)


@pytest.mark.parametrize(
    "message",
    [
        "RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.",
        "INTERNAL: Error dispatching computation: Out of memory allocating 12677120004 bytes.",
        "INTERNAL: Failed to allocate 9 bytes for new constant",
    ],
)
def test_a_full_device_is_a_sentence(capsys, message):
    def main(argv):
        raise jax.errors.JaxRuntimeError(message + "\nand a stack")

    with pytest.raises(SystemExit):
        cli.guarded(main, [])
    assert capsys.readouterr().err.startswith(f"error: out of memory ({message}): in training")


@pytest.mark.parametrize(
    "error", [AssertionError(), RuntimeError("Unable to initialize backend 'cuda': no device")]
)
def test_a_device_that_is_not_there_is_a_sentence(monkeypatch, error):
    def use_all():
        raise error

    monkeypatch.setattr(cli.devices, "use_all", use_all)
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    with pytest.raises(UserError, match="JAX finds no device for JAX_PLATFORMS=cuda"):
        cli.use_devices()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_any_name_is_printed_on_any_terminal(monkeypatch, encoding):
    """In any script, and names of files that are not UTF-8, as Python has them."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding, errors="strict")
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "stderr", stream)
    cli.print_anything()
    name = os.fsdecode(b"caf\xe9.jpg")
    print(name, "道路", "\ud800", "plain", flush=True)
    shown = stream.buffer.getvalue().decode(encoding)
    assert shown.startswith("caf\\udce9.jpg ") and shown.endswith(" \\ud800 plain\n")
    assert ("道路" in shown) == (encoding == "utf-8")


@pytest.mark.parametrize("allocate", [jnp.zeros, np.zeros])
def test_more_memory_than_there_is(capsys, allocate):
    def main(argv):
        allocate(1 << 50, "int8").sum()

    with pytest.raises(SystemExit) as ended:
        cli.guarded(main, [])
    assert ended.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: out of memory (")
    assert line.endswith("--tile=512 or smaller --scales")


@pytest.mark.parametrize(
    "bug",
    [
        OSError(errno.EBADF, "Bad file descriptor"),
        ValueError("oops"),
        jax.errors.JaxRuntimeError("INTERNAL: oops"),
    ],
)
def test_a_bug_is_not_hidden(bug):
    def main(argv):
        raise bug

    with pytest.raises(type(bug)):
        cli.guarded(main, [])


def test_an_interrupt_before_the_command_begins_is_a_word(monkeypatch, capsys):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "ask_for_huge_pages", interrupted)
    with pytest.raises(SystemExit) as caught:
        cli.run(lambda _: None)
    assert caught.value.code == 130
    assert capsys.readouterr().err == "interrupted\n"
