"""The flags of the dense CRF that refines probabilities: evaluate's and predict's."""

from collections.abc import Iterable

import numpy as np
from absl import flags

from reseg_jax.errors import UserError
from reseg_jax.inference.crf import CRF, check_fits, refine

_CRF = flags.DEFINE_bool("crf", False, "refine the probabilities by a dense CRF")
_PARAMETERS = {
    "w1": flags.DEFINE_float("crf_w1", None, f"weight of the appearance kernel [{CRF.w1:g}]"),
    "sigma_alpha": flags.DEFINE_float(
        "crf_sigma_alpha", None, f"the appearance kernel's reach in pixels [{CRF.sigma_alpha:g}]"
    ),
    "sigma_beta": flags.DEFINE_float(
        "crf_sigma_beta", None, f"its reach in levels of color [{CRF.sigma_beta:g}]"
    ),
    "w2": flags.DEFINE_float("crf_w2", None, f"weight of the smoothness kernel [{CRF.w2:g}]"),
    "sigma_gamma": flags.DEFINE_float(
        "crf_sigma_gamma", None, f"the smoothness kernel's reach in pixels [{CRF.sigma_gamma:g}]"
    ),
    "steps": flags.DEFINE_integer("crf_steps", None, f"steps of mean field [{CRF.steps}]"),
}


def chosen() -> CRF | None:
    """The CRF that the flags name; None without --crf."""
    given = {field: flag.value for field, flag in _PARAMETERS.items() if flag.value is not None}
    if given and not _CRF.value:
        raise UserError(f"--{_PARAMETERS[min(given)].name} is a parameter of --crf: give both")
    return CRF(**given) if _CRF.value else None


def typed(crf: CRF) -> str:
    """The flags that name this CRF."""
    named = (f"--{flag.name}={getattr(crf, field):g}" for field, flag in _PARAMETERS.items())
    return " ".join(["--crf", *named])


def refined(strips: Iterable[np.ndarray], images: np.ndarray) -> Iterable[np.ndarray]:
    """Strips [B, rows, W, K] of images [B, H, W, 3]: with --crf as one, refined."""
    if (crf := chosen()) is None:
        return strips
    strips = iter(strips)
    first = next(strips)
    check_fits((*images.shape[1:3], first.shape[-1]))  # before the rest is computed
    pairs = zip(np.concatenate([first, *strips], axis=1), images, strict=True)
    return [np.stack([refine(scores, image, crf) for scores, image in pairs])]
