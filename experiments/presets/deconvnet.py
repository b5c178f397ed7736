"""DeconvNet on CamVid."""

from experiments.presets.recipes import Preset
from reseg_jax.networks.deconvnet import DeconvNetConfig
from reseg_jax.training.settings import TrainSettings

PRESETS = {
    "camvid_deconvnet": Preset(
        "Noh et al. 2015, DeconvNet: no figure of theirs on CamVid; others' runs 48.9 mIoU",
        DeconvNetConfig(),
        # The paper trains on crops of proposals, then on whole ones; here the frames are whole. The
        # optimizer is our choice, as for FCN.
        TrainSettings(
            dataset="camvid",
            epochs=30,
            batch_size=2,
            optimizer="adamw",
            learning_rate=1e-4,
            schedule="poly",
            l2=0.0,
            weight_decay=5e-4,  # the paper's
            flip=True,
            patience=30,
        ),
    ),
}
