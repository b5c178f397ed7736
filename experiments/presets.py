"""What a name stands for: a network and its training, one entry a row that we report.

`default` names a dataset's own. Constants without another source are
the paper's or the released run's (`ReSegConfig` and `TrainSettings` state them).
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

from reseg_jax import ReSegConfig, UserError
from reseg_jax.files import config_json
from reseg_jax.training.settings import TrainSettings


class Preset(NamedTuple):
    """A network, its training, and where the row comes from."""

    source: str
    config: ReSegConfig
    settings: TrainSettings


# Table 4 prints 2x2 patches and two upsamplings, which end at half the image's size: one more.
_PATCH2 = ReSegConfig(
    patch_sizes=((2, 2), (1, 1)), upsample_sizes=((2, 2),) * 3, upsample_channels=(50, 50, 50)
)

PRESETS = {
    "toy": Preset(
        "ours: the embedded dataset on raw pixels, in under three minutes on two cores",
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
        "ours: the best ReSeg from the same frames at the same size; not the paper's",
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
            average=0.995,
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


_DEFAULTS = {"weizmann_horse": "horses", "oxford_flowers17": "flowers"}


def default(dataset: str) -> str:
    """The preset that a dataset is trained with where none is asked for."""
    return _DEFAULTS.get(dataset, dataset)


def build(
    name: str,
    changes: dict,
    assignments: Sequence[str] = (),
    network: ReSegConfig | None = None,
) -> tuple[ReSegConfig, TrainSettings]:
    """Network and settings of preset `name` after `changes`, {field: value}, and `assignments`.

    network: one to take in place of the preset's.
    Assignments are field=value texts as --set takes them; a UserError lists the fields where one
    has none of them.
    """
    _, config, settings = PRESETS[name]
    parts = (network or config, settings)
    names = [{field.name for field in dataclasses.fields(part)} for part in parts]
    for assignment in assignments:
        if "=" not in assignment or assignment.partition("=")[0] not in set.union(*names):
            known = ", ".join(sorted(set.union(*names)))
            raise UserError(f"--set {assignment}: write field=value; the fields are {known}")
    built = []
    for part, fields in zip(parts, names, strict=True):
        part = dataclasses.replace(part, **{k: v for k, v in changes.items() if k in fields})
        ours = [text for text in assignments if text.partition("=")[0] in fields]
        built.append(config_json.override(part, ours))
    return tuple(built)
