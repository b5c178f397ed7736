"""FCN on CamVid."""

from experiments.presets.recipes import Preset
from reseg_jax.networks.fcn import FCNConfig
from reseg_jax.training.settings import TrainSettings

PRESETS = {
    "camvid_fcn8s": Preset(
        "Long et al. 2015, FCN-8s: no figure of theirs on CamVid; others' runs 57.0 to 57.4 mIoU",
        FCNConfig(),
        # The paper has SGD at a rate for its own framework's loss; AdamW at a small rate, with a
        # tenth of it for the pretrained VGG, is our choice.
        TrainSettings(
            dataset="camvid",
            epochs=30,
            batch_size=2,
            optimizer="adamw",
            learning_rate=1e-4,
            schedule="poly",
            l2=0.0,
            weight_decay=5e-4,  # the paper's
            backbone_rate=0.1,
            flip=True,
            patience=30,
        ),
    ),
}
