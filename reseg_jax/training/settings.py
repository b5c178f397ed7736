"""How a network is trained, as frozen data: what a workdir's run.json says beside the network.

Numbers without another source are those of the paper's section 4.2 or of the authors' released
CamVid run.
"""

import dataclasses
from collections.abc import Iterable

import optax

from reseg_jax.errors import UserError, check_choice, check_share
from reseg_jax.files import config_json
from reseg_jax.training import optimizers
from reseg_jax.training.class_balance import BALANCES

CLASS_BALANCES = ("none", *BALANCES)
CACHE_DTYPES = ("float16", "bfloat16", "float32")

AUGMENTATIONS = ("color", "gamma", "elastic", "rotate", "aspect", "translate", "scale", "noise")
"""Fields that change the pixels of training images, besides mirroring; see `data.augment`."""

OLD_NAMES = {
    "average": "ema_decay",
    "versions": "num_augmented_copies",
    "colour": "color",
    "vgg_rate": "backbone_rate",
}
"""Fields as they were called before -> what they are called now."""


@dataclasses.dataclass(frozen=True)
class TrainSettings:
    """A training run. Two runs with equal settings, network and data give equal metrics."""

    dataset: str = "toy"
    data_dir: str | None = None
    data_options: tuple[str, ...] = ()  # "name=value" texts, what the dataset takes beyond these
    # The released run may go on for 5000 epochs; its early stopping ends it after some 110.
    epochs: int = 150
    batch_size: int = 5
    # Compute a batch in so many parts, one after another: the memory of a part, and the same update
    # to rounding. Only batch normalization sees the difference: its statistics are a part's.
    accumulate: int = 1
    drop_last: bool = False  # leave out an epoch's last batch if it is not full
    shrink: int = 1  # train and validate on images this many times smaller in height and width
    # Images of many sizes are padded, with void, to one of this many sizes: each compiles once.
    buckets: int = 1
    seed: int = 0
    # A trained network to begin with, as `reseg_jax.load` takes it; None: random but for the
    # pretrained backbone.
    start_from: str | None = None
    optimizer: str = "adadelta"
    learning_rate: float | None = None  # None: `optimizers.default_learning_rate`
    l2: float = 1e-3  # times the sum of squares of the trained kernels
    weight_decay: float = 0.0  # for adamw; the paper has `l2` in its place
    schedule: str = "constant"  # of the learning rate; "cosine" and "poly" end at 0
    warmup: int = 0  # updates in which the learning rate climbs to its value
    ema_decay: float = 0.0  # of the moving average of the weights; 0: none
    backbone_rate: float = 0.1  # a trained backbone learns at this share of the learning rate
    # The same for the classifier, and for other layers that are made for the classes (DeepLab: 10).
    classifier_rate: float = 1.0
    bias_rate: float = 1.0  # the same for all biases, times their layer's (FCN: 2)
    class_balance: str = "none"  # "median_frequency": section 5
    # Weight of a soft Jaccard loss beside the cross-entropy, times the pixels; not in the paper.
    jaccard: float = 0.0
    # The share of each image's pixels, the hardest, that the cross-entropy counts (FRRN).
    bootstrap: float = 1.0
    # Weight of pixels between two cells that nearly touch, beside their class' (U-Net: 10); class 0
    # is what lies between cells.
    border_weight: float = 0.0
    auxiliary: float = 0.4  # weight of auxiliary outputs' cross-entropy, PSPNet's
    # Augmentation; the paper has none.
    flip: bool = False  # mirror half of the training images
    crop: float = 1.0  # train on a random part, this share of height and width
    scale: tuple[float, float] = (1.0, 1.0)  # enlarge by a factor between these, crop or pad
    elastic: float = 0.0  # deform smoothly, by a deviation of so many pixels (U-Net: 10)
    rotate: float = 0.0  # turn by up to so many degrees, either way (PSPNet: 10)
    aspect: float = 1.0  # change width / height by up to this factor, either way
    translate: int = 0  # move by up to so many pixels along each axis (FRRN)
    color: float = 0.0  # change brightness, contrast and saturation by up to this share
    gamma: float = 0.0  # brighten or darken by a power, up to about exp(4 times this) (FRRN)
    noise: float = 0.0  # add Gaussian noise of this deviation, in gray levels
    # With any of `AUGMENTATIONS`: so many copies of each image, itself the first of them, are used
    # in turn, whose features can be kept. 0: others in every epoch, no features are kept.
    num_augmented_copies: int = 0
    # Stop after this many epochs without a better validation mIoU, only those after patience_from
    # counted, and not before min_epochs. The released run's options are 500 // 73 = 6
    # validations and 100 epochs; what its code makes of them is in the preset camvid_released.
    patience: int = 6
    patience_from: int = 0
    min_epochs: int = 100
    keep: int = 2  # newest checkpoints, beside the best one
    # Features of a frozen backbone are computed once and kept on disk. float16 halves the space
    # and rounds each activation by at most 2^-11 of itself; bfloat16 by 2^-9, whatever its size.
    cache_features: bool = True
    cache_dtype: str = "float16"

    def __post_init__(self):
        check_choice("optimizer", self.optimizer, optimizers.NAMES)
        check_choice("class_balance", self.class_balance, CLASS_BALANCES)
        check_choice("schedule", self.schedule, optimizers.SCHEDULES)
        check_choice("cache_dtype", self.cache_dtype, CACHE_DTYPES)
        for name in (
            *("epochs", "batch_size", "accumulate", "shrink", "buckets", "patience", "keep"),
        ):
            if getattr(self, name) < 1:
                raise UserError(f"{name}={getattr(self, name)}: give a number from 1")
        if self.learning_rate is not None and not self.learning_rate > 0:
            raise UserError(f"learning_rate={self.learning_rate}: give a positive number")
        for name in (
            *("l2", "jaccard", "weight_decay", "border_weight", "auxiliary"),
            *("backbone_rate", "classifier_rate", "bias_rate"),
            *("elastic", "rotate", "translate", "noise"),
            *("warmup", "patience_from", "num_augmented_copies"),
        ):
            if getattr(self, name) < 0:
                raise UserError(f"{name}={getattr(self, name)}: give 0 or a positive number")
        for name in ("ema_decay", "color"):
            check_share(name, getattr(self, name))
        if self.batch_size % self.accumulate:
            raise UserError(
                f"accumulate={self.accumulate}: a batch of {self.batch_size} images has no so many "
                "equal parts: give a divisor of batch_size"
            )
        if self.accumulate > 1 and self.jaccard:
            raise UserError(
                f"accumulate={self.accumulate}: the soft Jaccard loss is of a whole batch, no sum "
                "of its parts': set accumulate=1 or jaccard=0"
            )
        if self.weight_decay and self.optimizer != "adamw":
            raise UserError(
                f"weight_decay={self.weight_decay} is for optimizer=adamw, not for "
                f"{self.optimizer}: set l2 instead"
            )
        for name in ("crop", "bootstrap"):
            if not 0 < getattr(self, name) <= 1:
                raise UserError(f"{name}={getattr(self, name)}: give a share above 0 and up to 1")
        if not 0 < self.scale[0] <= self.scale[1]:
            raise UserError(f"scale={self.scale}: give two positive factors, the smaller first")
        if not self.aspect >= 1:
            raise UserError(f"aspect={self.aspect}: give a factor from 1")
        if not 0 <= self.gamma <= 0.5:
            raise UserError(f"gamma={self.gamma}: give a number from 0 to 0.5")
        copies = self.num_augmented_copies
        if copies == 1 or (copies and not self.augments):
            raise UserError(
                f"num_augmented_copies={copies}: give 0 or a number from 2, and with it one of "
                f"{', '.join(AUGMENTATIONS)}"
            )

    @property
    def augmentation(self) -> dict:
        """{field: value} of `AUGMENTATIONS`."""
        return {name: getattr(self, name) for name in AUGMENTATIONS}

    @property
    def augments(self) -> bool:
        """Whether training images change in more than being mirrored."""
        return any(
            value != getattr(TrainSettings, name) for name, value in self.augmentation.items()
        )

    @property
    def copies(self) -> int:
        """How many different copies of a training image there are; 0: others in every epoch."""
        if self.augments:
            return self.num_augmented_copies
        return 2 if self.flip else 1

    def make_optimizer(
        self,
        steps_per_epoch: int,
        groups: Iterable[str] = (),
        backbone: str | None = None,
        class_layers: Iterable[str] = ("classifier",),
    ) -> optax.GradientTransformation:
        """The update rule; its state's tree does not depend on `steps_per_epoch`.

        Args:
          steps_per_epoch: updates of an epoch.
          groups: the first names of the trained parameters, `variables["params"]`.
          backbone: the group that learns at `backbone_rate`.
          class_layers: the groups that learn at `classifier_rate`.
        """
        peak = self.learning_rate or optimizers.default_learning_rate(self.optimizer)
        steps = self.epochs * steps_per_epoch
        rate = optimizers.schedule(self.schedule, peak, steps, self.warmup)
        optimizer = optimizers.make(self.optimizer, rate, self.weight_decay)
        wanted = {backbone: self.backbone_rate, **dict.fromkeys(class_layers, self.classifier_rate)}
        factors = {name: wanted[name] for name in groups if wanted.get(name, 1) != 1}
        if factors:
            optimizer = optimizers.scale_updates(optimizer, factors)
        if self.bias_rate != 1:
            optimizer = optimizers.scale_biases(optimizer, self.bias_rate)
        return optimizers.averaging(optimizer, self.ema_decay) if self.ema_decay else optimizer


def from_dict(values: dict) -> TrainSettings:
    """The settings from their JSON, in which fields may have the names of older versions."""
    renamed = {OLD_NAMES.get(name, name): value for name, value in values.items()}
    return config_json.from_dict(TrainSettings, renamed)
