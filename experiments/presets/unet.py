"""U-Net on CamVid."""

from experiments.presets.recipes import Preset
from reseg_jax.networks.unet import UNetConfig
from reseg_jax.training.settings import TrainSettings

PRESETS = {
    "camvid_unet": Preset(
        "Ronneberger et al. 2015, U-Net: no figure of theirs on CamVid; others' runs 49.8 mIoU",
        # The images' own size and batch normalization, as others' runs on CamVid have it; the
        # paper's valid convolutions are --set padding=valid --set batch_norm=false.
        UNetConfig(padding="same", batch_norm=True),
        # Trained from nothing; Adam's customary rate, falling to 0, is our choice.
        TrainSettings(
            dataset="camvid",
            epochs=60,
            batch_size=2,
            optimizer="adam",
            learning_rate=1e-3,
            schedule="poly",
            l2=0.0,
            flip=True,
            patience=60,
        ),
    ),
}
