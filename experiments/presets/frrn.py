"""FRRN-A and FRRN-B on CamVid."""

from experiments.presets.recipes import Preset
from reseg_jax.networks.frrn import FRRNConfig
from reseg_jax.training.settings import TrainSettings

# From memory of the paper and its released code: Adam at 1e-3 in batches of 3, from nothing; the
# hardest 512 x 64 of 1024 x 512 pixels; gamma up to 0.05; shifts up to 40 of 1024 pixels, here the
# same share of 480. The fall to 0 and mirror images are our choice.
_SETTINGS = TrainSettings(
    dataset="camvid",
    epochs=60,
    batch_size=3,
    optimizer="adam",
    learning_rate=1e-3,
    schedule="poly",
    l2=0.0,
    bootstrap=1 / 16,
    gamma=0.05,
    translate=19,
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
