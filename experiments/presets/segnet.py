"""SegNet, SegNet-Basic and their Bayesian forms on CamVid."""

import dataclasses

from experiments.presets.recipes import Preset
from reseg_jax.networks.segnet import SegNetConfig
from reseg_jax.training.settings import TrainSettings

# The papers' runs: void ignored, classes balanced by median frequency. SGD's rates there are for
# the mean over pixels; AdamW, falling to 0, is our choice.
_SETTINGS = TrainSettings(
    dataset="camvid",
    epochs=60,
    batch_size=4,  # the released solver's
    optimizer="adamw",
    learning_rate=1e-3,
    schedule="poly",
    l2=0.0,
    weight_decay=5e-4,  # the papers'
    class_balance="median_frequency",
    flip=True,
    patience=60,
)
_ON_VGG = dataclasses.replace(_SETTINGS, backbone_rate=0.1, epochs=40)

PRESETS = {
    "camvid_segnet": Preset(
        "Badrinarayanan et al. 2017, SegNet: 50.2 mIoU (from 367 images, in the ReSeg paper)",
        SegNetConfig(),
        _ON_VGG,
    ),
    "camvid_segnet_basic": Preset(
        "Badrinarayanan et al. 2017, SegNet-Basic: 46.3 mIoU", SegNetConfig.basic(), _SETTINGS
    ),
    "camvid_bayesian_segnet": Preset(
        "Kendall et al. 2017, Bayesian SegNet: 63.1 mIoU", SegNetConfig().bayesian(), _ON_VGG
    ),
    "camvid_bayesian_segnet_basic": Preset(
        "Kendall et al. 2017, Bayesian SegNet-Basic: 55.8 mIoU",
        SegNetConfig.basic().bayesian(),
        _SETTINGS,
    ),
}
