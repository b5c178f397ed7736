"""The compilation cache of the library: on, off, and chosen by the user."""

import os
import subprocess
import sys

import pytest


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, "cache/compiled"),
        ({"RESEG_COMPILATION_CACHE": "off"}, "None"),
        ({"JAX_COMPILATION_CACHE_DIR": "mine"}, "mine"),
    ],
)
def test_programs_are_kept_unless_somebody_has_chosen(tmp_path, variables, expected):
    environment = {k: v for k, v in os.environ.items() if "COMPILATION_CACHE" not in k}
    environment |= {"RESEG_CACHE": str(tmp_path / "cache"), **variables}
    code = "import jax, reseg_jax; print(jax.config.jax_compilation_cache_dir)"
    printed = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, check=True, text=True
    )
    assert printed.stdout.strip().endswith(expected)
