"""How a network is trained, as frozen data: what a workdir's run.json says beside the network.

Numbers without another source are those of the paper's section 4.2 or of the authors' released
CamVid run.
"""

import dataclasses

import optax

from reseg_jax.config import ReSegConfig
from reseg_jax.errors import UserError
from reseg_jax.training import losses, optimizers

CLASS_BALANCES = ("none", *losses.BALANCES)
CACHE_DTYPES = ("float16", "float32")


@dataclasses.dataclass(frozen=True)
class TrainSettings:
    """A training run. Two runs with equal settings, network and data give equal metrics."""

    dataset: str = "toy"
    data_dir: str | None = None
    data_options: tuple[str, ...] = ()  # "name=value" texts, what the dataset takes beyond these
    # The released run may go on for 5000 epochs; its early stopping ends it after some 110.
    epochs: int = 150
    batch_size: int = 5
    drop_last: bool = False  # leave out an epoch's last batch where it is not full
    # Images of many sizes are padded, with void, to one of this many sizes: each compiles once.
    buckets: int = 1
    seed: int = 0
    # A trained network to begin with, as `reseg_jax.load` takes it; None: random but for the VGG.
    start_from: str | None = None
    optimizer: str = "adadelta"
    learning_rate: float | None = None  # None: the optimiser's customary one
    l2: float = 1e-3  # times the sum of squares of the trained kernels
    weight_decay: float = 0.0  # of adamw; the paper has `l2` in its place
    schedule: str = "constant"  # of the learning rate; "cosine" falls to 0 at the last epoch
    warmup: int = 0  # updates in which the learning rate climbs to its value
    average: float = 0.0  # decay of the moving average of the weights; 0: none
    vgg_rate: float = 0.1  # a fine-tuned VGG learns at this share of the learning rate
    class_balance: str = "none"  # "median_frequency": section 5
    # Of the soft Jaccard loss, so much beside the cross-entropy, a pixel of each; ours.
    jaccard: float = 0.0
    # Augmentation; the paper has none.
    flip: bool = False  # mirror half of the training images
    crop: float = 1.0  # train on a random part, this share of height and width
    scale: tuple[float, float] = (1.0, 1.0)  # enlarge by a factor between these, crop or pad
    colour: float = 0.0  # change brightness, contrast and saturation by up to this share
    # With scale or colour: so many pictures of each image, itself the first of them, shown in turn,
    # whose features can be kept. 0: others in every epoch, and no features are kept.
    versions: int = 0
    # Stop after this many epochs without a better validation mIoU, those after patience_from
    # counted alone, and not before min_epochs. The released run's options are 500 // 73 = 6
    # validations and 100 epochs; what its code makes of them is in the preset camvid_released.
    patience: int = 6
    patience_from: int = 0
    min_epochs: int = 100
    keep: int = 2  # newest checkpoints, beside the best one
    # Features of the frozen VGG are computed once and kept on disk. float16 halves the space
    # and rounds each activation by at most 2^-11 of itself.
    cache_features: bool = True
    cache_dtype: str = "float16"

    def __post_init__(self):
        choices = {
            "optimizer": optimizers.NAMES,
            "class_balance": CLASS_BALANCES,
            "schedule": optimizers.SCHEDULES,
            "cache_dtype": CACHE_DTYPES,
        }
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise UserError(
                    f"{name}={getattr(self, name)!r} is unknown; known are: {', '.join(known)}"
                )
        for name in ("epochs", "batch_size", "patience", "buckets", "keep"):
            if getattr(self, name) < 1:
                raise UserError(f"{name}={getattr(self, name)}: give a number from 1")
        if self.learning_rate is not None and not self.learning_rate > 0:
            raise UserError(f"learning_rate={self.learning_rate}: give a positive number")
        for name in (
            *("l2", "jaccard", "weight_decay", "vgg_rate"),
            *("warmup", "patience_from", "versions"),
        ):
            if getattr(self, name) < 0:
                raise UserError(f"{name}={getattr(self, name)}: give 0 or a positive number")
        for name in ("average", "colour"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"{name}={getattr(self, name)}: give a share from 0 to below 1")
        if self.weight_decay and self.optimizer != "adamw":
            raise UserError(
                f"weight_decay={self.weight_decay} is of optimizer=adamw, not of {self.optimizer}: "
                "set l2 instead"
            )
        if not 0 < self.crop <= 1:
            raise UserError(f"crop={self.crop}: give a share above 0 and up to 1")
        if not 0 < self.scale[0] <= self.scale[1]:
            raise UserError(f"scale={self.scale}: give two positive factors, the smaller first")
        if self.versions == 1 or (self.versions and not self.augments):
            raise UserError(
                f"versions={self.versions}: give 0 or a number from 2, and with it scale or colour"
            )

    @property
    def augments(self) -> bool:
        """Whether training images change in more than being mirrored."""
        return self.scale != (1, 1) or self.colour > 0

    @property
    def pictures(self) -> int:
        """How many pictures of a training image there are; 0: others in every epoch."""
        if self.augments:
            return self.versions
        return 2 if self.flip else 1

    def make_optimizer(
        self, config: ReSegConfig, steps_per_epoch: int
    ) -> optax.GradientTransformation:
        """The update rule; its state's tree does not depend on `steps_per_epoch`."""
        peak = self.learning_rate or optimizers.customary_rate(self.optimizer)
        steps = self.epochs * steps_per_epoch
        rate = optimizers.schedule(self.schedule, peak, steps, self.warmup)
        optimizer = optimizers.make(self.optimizer, rate, self.weight_decay)
        if config.finetune_vgg and self.vgg_rate != 1:
            optimizer = optimizers.slower(optimizer, "vgg", self.vgg_rate)
        return optimizers.averaging(optimizer, self.average) if self.average else optimizer
