"""A trained network by any of its names: of the package, a file, or a workdir."""

import os
from pathlib import Path

from reseg_jax.backbones import pretrained
from reseg_jax.errors import UserError
from reseg_jax.networks.base import NetworkConfig
from reseg_jax.saving import Saved, read

TRAINED = Path(__file__).with_name("trained")
"""Heads that come with the package, NAME.npz each."""


def load(
    path: str | os.PathLike, vgg_weights: str | os.PathLike | None = None
) -> tuple[NetworkConfig, dict]:
    """A trained network.

    Args:
      path: a file that `reseg_jax.save` wrote, a workdir, whose best checkpoint it is, or the name
        of a head that comes with the package: "camvid".
      vgg_weights: a file of weights, VGG-16's or another backbone's, for a head that is saved
        without its backbone; without it, those of VGG-16 that the head was trained over are
        downloaded once.

    Returns:
      (config, variables).

    Raises:
      UserError: it is none of these, it is damaged, or `vgg_weights` are of another kind.
    """
    return load_saved(path, vgg_weights)[:2]


def load_saved(path: str | os.PathLike, vgg_weights: str | os.PathLike | None = None) -> Saved:
    """As `load`, with the classes."""
    if not isinstance(path, str | os.PathLike):
        raise UserError(
            f"load takes a file, a workdir or a name, and not a {type(path).__name__}: give one"
        )
    trained = [head.stem for head in sorted(TRAINED.glob("*.npz"))]
    if str(path) in trained and not os.path.exists(path):
        path = TRAINED / f"{path}.npz"
    if os.path.isdir(path):
        from reseg_jax.training.trained import load_run  # orbax takes two seconds to import

        run = load_run(path)
        return Saved(run.config, run.variables, run.classes)
    saved = read(path)
    if saved.config.frozen and "frozen" not in saved.variables:
        return _with_backbone(path, saved, vgg_weights)
    return saved


def _with_backbone(path, saved, vgg_weights):
    """The file's head over the pretrained backbone that it was trained with."""
    wanted, sources = saved.config.preprocessing, pretrained.sources(saved.config.backbone)
    if wanted not in sources and vgg_weights is None:
        raise UserError(f"{path} is saved without its backbone: give vgg_weights")
    source = sources.get(wanted, pretrained.KERAS)
    found, variables = pretrained.use_weights(saved.config, saved.variables, vgg_weights, source)
    if found.preprocessing != wanted:
        raise UserError(
            f"{path} was trained over weights for {wanted} preprocessing, but {vgg_weights} are "
            f"for {found.preprocessing}: give those that it was trained over"
        )
    return saved._replace(variables=variables)
