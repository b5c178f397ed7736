"""The dilated front end on CamVid, and both context modules above it."""

from experiments.presets.recipes import Preset
from reseg_jax.networks.dilated import DilatedConfig
from reseg_jax.training.settings import TrainSettings

# The paper has SGD at 1e-3 with momentum and batches of 14, for the front end and then for the
# context module, and a hundredth of that rate for both together. AdamW, falling to 0, with a tenth
# of its rate for the pretrained VGG, is our choice, as for FCN. The context module may be trained
# from nothing, as here, or above a trained front end, as in the paper:
#   --preset=camvid_dilated_context --start_from=runs/camvid_dilated
_SETTINGS = TrainSettings(
    dataset="camvid",
    epochs=30,
    batch_size=2,
    optimizer="adamw",
    learning_rate=1e-4,
    schedule="poly",
    l2=0.0,
    weight_decay=5e-4,  # FCN's: the paper names none
    backbone_rate=0.1,
    flip=True,
    patience=30,
)

PRESETS = {
    "camvid_dilated": Preset(
        "Yu and Koltun 2016, front end: no figure of it on CamVid is known",
        DilatedConfig(),
        _SETTINGS,
    ),
    "camvid_dilated_context": Preset(
        "Yu and Koltun 2016, front end and basic context module: 65.3 mIoU (from 640x480 pixels)",
        DilatedConfig(context="basic"),
        _SETTINGS,
    ),
    "camvid_dilated_context_large": Preset(
        "Yu and Koltun 2016, front end and large context module: no figure of its own on CamVid",
        DilatedConfig(context="large"),
        _SETTINGS,
    ),
}
