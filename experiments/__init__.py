"""Commands: `python -m experiments.NAME`."""

import sys

try:
    import jax  # noqa: F401  # it reads its variables, as JAX_NUM_CPU_DEVICES, at this moment
except ValueError as error:
    if sys.argv[:1] != ["-m"]:  # what Python puts there until the command's module runs
        raise
    sys.exit(f"error: JAX does not start ({error}): correct or unset that variable")
