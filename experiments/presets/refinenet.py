"""RefineNet on CamVid."""

import dataclasses

from experiments.presets.recipes import Preset
from reseg_jax.networks.refinenet import RefineNetConfig
from reseg_jax.training.settings import TrainSettings

_RESNET_50 = RefineNetConfig()
_RESNET_101 = dataclasses.replace(
    _RESNET_50, backbone=dataclasses.replace(_RESNET_50.backbone, depth=101)
)

# The paper trains by SGD with momentum from ImageNet's weights, on images enlarged by 0.7 to 1.3.
# AdamW, its rate, falling to 0, and batches of 4 are our choice. All begins at random, so that the
# backbone learns at the full rate; --backbone_weights=FILE with --set backbone_rate=0.1 does not.
_SETTINGS = TrainSettings(
    dataset="camvid",
    epochs=30,
    batch_size=4,
    optimizer="adamw",
    learning_rate=3e-4,
    schedule="poly",
    l2=0.0,
    weight_decay=5e-4,  # the paper's
    backbone_rate=1.0,
    flip=True,
    scale=(0.7, 1.3),  # the paper's
    patience=30,
)

PRESETS = {
    "camvid_refinenet50": Preset(
        "Lin et al. 2017, RefineNet-50: no figure on CamVid is known", _RESNET_50, _SETTINGS
    ),
    "camvid_refinenet101": Preset(
        "Lin et al. 2017, RefineNet-101: no figure on CamVid is known", _RESNET_101, _SETTINGS
    ),
}
