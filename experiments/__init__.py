"""Commands: `python -m experiments.NAME`."""
