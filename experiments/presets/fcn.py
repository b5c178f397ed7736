"""FCN on CamVid: each of the three, in one go from ImageNet or one after the other.

python -m experiments.train --preset=camvid_fcn32s
python -m experiments.train --preset=camvid_fcn16s --start_from=runs/camvid_fcn32s
python -m experiments.train --preset=camvid_fcn8s --start_from=runs/camvid_fcn16s
"""

from experiments.presets.recipes import Preset
from reseg_jax.networks.fcn import FCNConfig
from reseg_jax.training.settings import TrainSettings

# The paper has SGD at a rate for its own framework's loss; AdamW at a small rate, with a tenth of
# it for the pretrained VGG, is our choice.
_SETTINGS = TrainSettings(
    dataset="camvid",
    epochs=30,
    batch_size=2,
    optimizer="adamw",
    learning_rate=1e-4,
    schedule="poly",
    l2=0.0,
    weight_decay=5e-4,  # the paper's
    backbone_rate=0.1,
    bias_rate=2.0,  # the paper's
    flip=True,
    patience=30,
)

PRESETS = {
    "camvid_fcn8s": Preset(
        "Long et al. 2015, FCN-8s: no figure of theirs on CamVid; others' runs 57.0 to 57.4 mIoU",
        FCNConfig(),
        _SETTINGS,
    ),
    "camvid_fcn16s": Preset(
        "Long et al. 2015, FCN-16s: no figure of theirs on CamVid",
        FCNConfig(upsample_stride=16),
        _SETTINGS,
    ),
    "camvid_fcn32s": Preset(
        "Long et al. 2015, FCN-32s: no figure of theirs on CamVid",
        FCNConfig(upsample_stride=32),
        _SETTINGS,
    ),
}
