"""DeepLab on CamVid: on VGG-16 at one rate and at four, and on ResNet-101."""

from experiments.presets.recipes import Preset
from reseg_jax.networks.deeplab import ASPP_L, ASPP_S, DeepLabConfig
from reseg_jax.training.settings import TrainSettings

# The papers have SGD at 1e-3 with momentum, batches of 10, ten times the rate for the scores, and
# the fall to 0 by "poly". AdamW, with a tenth of its rate for the pretrained VGG, is our choice, as
# for FCN: fc6 and fc7 begin at random here.
_SETTINGS = TrainSettings(
    dataset="camvid",
    epochs=30,
    batch_size=2,
    optimizer="adamw",
    learning_rate=1e-4,
    schedule="poly",
    l2=0.0,
    weight_decay=5e-4,  # the papers'
    backbone_rate=0.1,
    classifier_rate=10.0,  # the papers'
    flip=True,  # the papers'
    scale=(0.5, 1.5),  # the second paper's
    patience=30,
)

PRESETS = {
    "camvid_deeplab_largefov": Preset(
        "Chen et al. 2015, DeepLab-LargeFOV: no figure of theirs on CamVid; others' runs 61.6 mIoU",
        DeepLabConfig(),
        _SETTINGS,
    ),
    "camvid_deeplab_aspp_s": Preset(
        "Chen et al. 2018, DeepLab-ASPP-S: no figure on CamVid is known",
        DeepLabConfig(rates=ASPP_S),
        _SETTINGS,
    ),
    "camvid_deeplab_aspp_l": Preset(
        "Chen et al. 2018, DeepLab-ASPP-L: no figure on CamVid is known",
        DeepLabConfig(rates=ASPP_L),
        _SETTINGS,
    ),
    "camvid_deeplab_resnet101": Preset(
        "Chen et al. 2018, DeepLab on ResNet-101: no figure on CamVid is known",
        DeepLabConfig.resnet(),
        _SETTINGS,
    ),
}
