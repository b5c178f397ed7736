"""ReSeg (Visin et al., 2016) in JAX: recurrent sweeps for semantic segmentation."""

from reseg_jax.config import VOID, Classes, ReSegConfig
from reseg_jax.errors import UserError
from reseg_jax.inference import predict, predict_probabilities
from reseg_jax.model import apply, init
from reseg_jax.renet import renet_layer
from reseg_jax.serialization import load, save
from reseg_jax.sweep import sweep
from reseg_jax.weights import use_vgg_weights

__all__ = [
    "VOID",
    "Classes",
    "ReSegConfig",
    "UserError",
    "apply",
    "init",
    "load",
    "predict",
    "predict_probabilities",
    "renet_layer",
    "save",
    "sweep",
    "use_vgg_weights",
]
