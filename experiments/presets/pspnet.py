"""PSPNet on CamVid."""

import dataclasses

from experiments.presets.recipes import Preset
from reseg_jax.networks.pspnet import PSPNetConfig
from reseg_jax.training.settings import TrainSettings

_RESNET_50 = PSPNetConfig()
_RESNET_101 = dataclasses.replace(
    _RESNET_50, backbone=dataclasses.replace(_RESNET_50.backbone, depth=101)
)

# The paper has SGD with momentum, a rate for the mean over pixels, and batches of 16; AdamW, its
# rate and batches of 4 are our choice. torchvision's weights are for another stem, so that all
# begins at random, and the backbone learns at the full rate; with --set backbone.stem=7x7,
# --backbone_weights=FILE and --set backbone_rate=0.1 it begins with them.
_SETTINGS = TrainSettings(
    dataset="camvid",
    epochs=30,
    batch_size=4,
    optimizer="adamw",
    learning_rate=1e-3,
    schedule="poly",  # the paper's
    l2=0.0,
    weight_decay=1e-4,  # the paper's
    backbone_rate=1.0,
    flip=True,
    scale=(0.5, 2.0),  # this and the turning are the paper's
    rotate=10.0,
    patience=30,
)

PRESETS = {
    "camvid_pspnet50": Preset(
        "Zhao et al. 2017, PSPNet-50: no figure of theirs on CamVid; in later tables 69.1 mIoU at "
        "960x720",
        _RESNET_50,
        _SETTINGS,
    ),
    "camvid_pspnet101": Preset(
        "Zhao et al. 2017, PSPNet-101: no figure of theirs on CamVid; in later tables 76.2 mIoU at "
        "960x720",
        _RESNET_101,
        _SETTINGS,
    ),
}
