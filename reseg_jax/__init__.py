"""ReSeg (Visin et al., 2016) in JAX: recurrent sweeps for semantic segmentation.

Importing it turns on JAX's compilation cache, unless RESEG_COMPILATION_CACHE=off.
"""

from reseg_jax import compiled, devices
from reseg_jax.api import apply, init, prepare
from reseg_jax.backbones.pretrained import use_resnet_weights, use_vgg_weights
from reseg_jax.errors import UserError
from reseg_jax.inference.predict import predict, predict_probabilities
from reseg_jax.labels import VOID, Classes
from reseg_jax.loading import load
from reseg_jax.networks.reseg import ReSegConfig
from reseg_jax.recurrent.renet import renet_layer
from reseg_jax.recurrent.sweep import sweep
from reseg_jax.saving import save

compiled.keep_on_disk()

__all__ = [
    "VOID",
    "Classes",
    "ReSegConfig",
    "UserError",
    "apply",
    "devices",
    "init",
    "load",
    "predict",
    "predict_probabilities",
    "prepare",
    "renet_layer",
    "save",
    "sweep",
    "use_resnet_weights",
    "use_vgg_weights",
]
