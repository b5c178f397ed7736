"""How commands end: exit code, stderr and stdout; flags and one error in a real process."""

import errno
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
from absl import flags, logging
from experiments import cli
from reseg_jax.errors import UserError

WORD = flags.DEFINE_enum("word", "hello", ["hello", "bye"], "What to say.")

def main(argv):
    logging.info("a library reports its doings")
    if WORD.value == "bye":
        raise UserError("cat.png is empty")
    print(WORD.value)

if __name__ == "__main__":
    cli.run(main)
'''


@pytest.fixture(scope="module")
def greet(tmp_path_factory):
    script = tmp_path_factory.mktemp("script") / "greet.py"
    script.write_text(SCRIPT)

    def run(*arguments):
        return subprocess.run(
            [sys.executable, str(script), *arguments],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run


@pytest.mark.parametrize(
    ("arguments", "code", "stdout", "stderr"),
    [
        ([], 0, "hello\n", ""),
        (["--word=bye"], 1, "", "error: cat.png is empty\n"),
        (
            ["--word=hi"],
            1,
            "",
            "error: flag --word=hi: value should be one of <hello|bye> (--help lists the flags)\n",
        ),
        (
            ["--wrod=bye"],
            1,
            "",
            "error: Unknown command line flag 'wrod'. Did you mean: word ? "
            "(--help lists the flags)\n",
        ),
        (
            ["hello", "you"],
            1,
            "",
            "error: hello you: give every argument by a flag (--help lists them)\n",
        ),
    ],
)
def test_a_command_prints_its_result_or_one_sentence(greet, arguments, code, stdout, stderr):
    done = greet(*arguments)
    assert (done.returncode, done.stdout, done.stderr) == (code, stdout, stderr)


def test_help_shows_the_docstring_and_the_flags_of_the_command(greet):
    done = greet("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Greets, in 100 % of the cases.")
    assert "--word: <hello|bye>: What to say.\n    (default: 'hello')" in done.stdout
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


@pytest.mark.parametrize("allocate", [jnp.zeros, np.zeros])
def test_more_memory_than_there_is(capsys, allocate):
    def main(argv):
        allocate(1 << 50, "int8").sum()

    with pytest.raises(SystemExit) as ended:
        cli.guarded(main, [])
    assert ended.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: out of memory (")
    assert line.endswith("--scales, as 0.5")


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
