"""FRRN-A and FRRN-B on CamVid."""

from experiments.presets.recipes import Preset
from reseg_jax.networks.frrn import FRRNConfig
from reseg_jax.training.settings import TrainSettings

# Adam at 1e-3 in batches of 3, from nothing, is the paper's as far as is known; the fall to 0 and
# mirror images in place of shifted ones are our choice.
_SETTINGS = TrainSettings(
    dataset="camvid",
    epochs=60,
    batch_size=3,
    optimizer="adam",
    learning_rate=1e-3,
    schedule="poly",
    l2=0.0,
    flip=True,
    patience=60,
)

PRESETS = {
    "camvid_frrn_a": Preset(
        "Pohlen et al. 2017, FRRN-A: no figure on CamVid is known", FRRNConfig(), _SETTINGS
    ),
    "camvid_frrn_b": Preset(
        "Pohlen et al. 2017, FRRN-B: no figure on CamVid is known", FRRNConfig.b(), _SETTINGS
    ),
}
