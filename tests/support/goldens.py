"""Files whose content is known, with the scripts that made them."""

import pathlib

GOLDENS = pathlib.Path(__file__).parents[1] / "goldens"
