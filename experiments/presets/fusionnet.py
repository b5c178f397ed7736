"""FusionNet on CamVid."""

from experiments.presets.recipes import Preset
from reseg_jax.networks.fusionnet import FusionNetConfig
from reseg_jax.training.settings import TrainSettings

PRESETS = {
    "camvid_fusionnet": Preset(
        "Quan et al. 2016, FusionNet: no figure on CamVid is known",
        FusionNetConfig(),
        # Adam at a small rate is the paper's, as far as is known; its fall to 0 is our choice.
        TrainSettings(
            dataset="camvid",
            epochs=30,
            batch_size=2,
            optimizer="adam",
            learning_rate=1e-4,
            schedule="poly",
            l2=0.0,
            flip=True,
            patience=30,
        ),
    ),
}
