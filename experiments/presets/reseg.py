"""ReSeg: every row of the paper's tables, the released code's, and ours.

Constants without another source are the paper's or the released run's (`ReSegConfig` and
`TrainSettings` state them).
"""

import dataclasses

from experiments.presets.recipes import Preset
from reseg_jax.networks.reseg import ReSegConfig
from reseg_jax.training.settings import TrainSettings

# Table 4 prints 2x2 patches and two upsamplings, which end at half the image's size: one more.
_PATCH2 = ReSegConfig(
    patch_sizes=((2, 2), (1, 1)), upsample_sizes=((2, 2),) * 3, upsample_channels=(50, 50, 50)
)

PRESETS = {
    "toy": Preset(
        "not in the paper: the embedded dataset on raw pixels, in under three minutes on two cores",
        # Patches of 4x4 keep the sweeps at 16 and 24 steps, batches of 2 give more updates a
        # second: both are what makes it learn in a minute or two.
        ReSegConfig.no_vgg(
            patch_sizes=((4, 4), (1, 1)),
            units=(40, 40),
            upsample_sizes=((4, 4),),
            upsample_channels=(32,),
        ),
        TrainSettings(dataset="toy", epochs=8, batch_size=2),
    ),
    "camvid": Preset(
        "paper, Tables 3 and 4, ReSeg: 58.8 mIoU on test",
        ReSegConfig(),
        TrainSettings(dataset="camvid"),
    ),
    "camvid_balanced": Preset(
        "paper, Tables 3 and 4, ReSeg + Class Balance: 53.7 mIoU on test",
        ReSegConfig(),
        TrainSettings(dataset="camvid", class_balance="median_frequency"),
    ),
    "camvid_lcn": Preset(
        "paper, Table 4, ReSeg + LCN: 52.6 mIoU on test",
        ReSegConfig(contrast="divisive"),
        TrainSettings(dataset="camvid"),
    ),
    "camvid_released": Preset(
        "the authors' released evaluate_camvid.py: 58.8 in the paper, about 55 for a user's run",
        ReSegConfig(
            order=("horizontal", "vertical"), chained=True, initialization="normal", void_class=True
        ),
        # The code counts epochs without improvement from the 102nd on, and the improving one as
        # the first: five after it.
        TrainSettings(
            dataset="camvid", l2=0.0, drop_last=True, epochs=5000, patience=5, patience_from=102
        ),
    ),
    "camvid_patch2": Preset(
        "paper, Table 4 as printed, 2x2 first patches, with the third upsampling that it lacks",
        _PATCH2,
        TrainSettings(dataset="camvid"),
    ),
    "camvid_lstm": Preset(
        "paper, section 3, LSTM named as an alternative: no figure",
        ReSegConfig(cell="lstm"),
        TrainSettings(dataset="camvid"),
    ),
    "camvid_rnn": Preset(
        "paper, section 3, tanh units named as an alternative: no figure",
        ReSegConfig(cell="rnn"),
        TrainSettings(dataset="camvid"),
    ),
    "camvid_no_vgg": Preset(
        "the paper's network without VGG (Table 1, there on horses), on CamVid: no figure",
        ReSegConfig.no_vgg(),
        TrainSettings(dataset="camvid"),
    ),
    "camvid_modern": Preset(
        "not in the paper: the best ReSeg from the same frames at the same size",
        dataclasses.replace(
            _PATCH2,
            upsample_channels=(100, 100, 50),  # what this and `refine` give is in docs/camvid.md
            layer_norm=True,
            skips=("conv3_3", "conv2_2"),
            refine=True,
            dropout=0.2,
        ),
        TrainSettings(
            dataset="camvid",
            epochs=16,
            batch_size=2,
            optimizer="adamw",
            learning_rate=1.5e-3,
            weight_decay=1e-2,
            schedule="cosine",
            warmup=184,  # an epoch
            ema_decay=0.995,
            jaccard=1.0,
            flip=True,
            l2=0.0,
            patience=16,
        ),
    ),
    "horses": Preset(
        "paper, Table 1, ReSeg: 96.8 % accuracy, 91.6 IoU, on its own split",
        ReSegConfig(num_classes=2),
        TrainSettings(dataset="weizmann_horse", buckets=4),
    ),
    "horses_no_vgg": Preset(
        "paper, Table 1, ReSeg without VGG: 94.9 % accuracy, 79.9 IoU, on its own split",
        ReSegConfig.no_vgg(num_classes=2),
        TrainSettings(dataset="weizmann_horse", buckets=4),
    ),
    "flowers": Preset(
        "paper, Table 2, ReSeg: 98 % accuracy, 93.7 IoU",
        ReSegConfig(num_classes=2),
        TrainSettings(dataset="oxford_flowers17"),
    ),
    "folder": Preset(
        "the paper's network and training, on your own images",
        ReSegConfig(),
        TrainSettings(dataset="folder"),
    ),
}
