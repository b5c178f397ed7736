"""What a name stands for: a network and its training, one entry a row that we report.

A preset named as a dataset is that dataset's default. Constants without another source are
the paper's or the released run's (`ReSegConfig` and `TrainSettings` state them).
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

from reseg_jax import ReSegConfig, UserError, plain
from reseg_jax.settings import TrainSettings


class Preset(NamedTuple):
    """A network, its training, and where the row comes from."""

    source: str
    config: ReSegConfig
    settings: TrainSettings


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
    "camvid_no_vgg": Preset(
        "the paper's network without VGG (Table 1, there on horses), on CamVid",
        ReSegConfig.no_vgg(),
        TrainSettings(dataset="camvid"),
    ),
    "weizmann_horse": Preset(
        "paper, Table 1, ReSeg: 96.8 % accuracy, 91.6 IoU, on its own split",
        ReSegConfig(num_classes=2),
        TrainSettings(dataset="weizmann_horse", buckets=4),
    ),
    "oxford_flowers17": Preset(
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


def build(
    name: str, changes: dict, assignments: Sequence[str] = ()
) -> tuple[ReSegConfig, TrainSettings]:
    """Network and settings of preset `name` after `changes`, {field: value}, and `assignments`.

    Assignments are field=value texts as --set takes them; a UserError lists the fields where one
    has none of them.
    """
    _, *parts = PRESETS[name]
    names = [{field.name for field in dataclasses.fields(part)} for part in parts]
    for assignment in assignments:
        if "=" not in assignment or assignment.partition("=")[0] not in set.union(*names):
            known = ", ".join(sorted(set.union(*names)))
            raise UserError(f"--set {assignment}: write field=value; the fields are {known}")
    built = []
    for part, fields in zip(parts, names, strict=True):
        part = dataclasses.replace(part, **{k: v for k, v in changes.items() if k in fields})
        ours = [text for text in assignments if text.partition("=")[0] in fields]
        built.append(plain.override(part, ours))
    return tuple(built)
