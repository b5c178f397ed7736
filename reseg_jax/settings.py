"""How a network is trained, as frozen data: what a workdir's run.json says beside the network.

Numbers without another source are those of the paper's section 4.2 or of the authors' released
CamVid run.
"""

import dataclasses

from reseg_jax import optimizers
from reseg_jax.errors import UserError

CLASS_BALANCES = ("none", "median_frequency")
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
    optimizer: str = "adadelta"
    learning_rate: float | None = None  # None: the optimiser's customary one
    l2: float = 1e-3  # times the sum of squares of the trained kernels
    class_balance: str = "none"  # "median_frequency": section 5
    flip: bool = False  # mirror half of the training images; the paper augments nothing
    # Stop after this many epochs without a better validation mIoU, but not before min_epochs
    # (released run: validation patience 500 // 73 = 6, counted from epoch 100 on).
    patience: int = 6
    min_epochs: int = 100
    # Features of the frozen VGG are computed once and kept on disk. float16 halves the space
    # and rounds each activation by at most 2^-11 of itself.
    cache_features: bool = True
    cache_dtype: str = "float16"

    def __post_init__(self):
        choices = {
            "optimizer": optimizers.NAMES,
            "class_balance": CLASS_BALANCES,
            "cache_dtype": CACHE_DTYPES,
        }
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise UserError(
                    f"{name}={getattr(self, name)!r} is unknown; known are: {', '.join(known)}"
                )
        for name in ("epochs", "batch_size", "patience", "buckets"):
            if getattr(self, name) < 1:
                raise UserError(f"{name}={getattr(self, name)}: give a number from 1")
        if self.learning_rate is not None and not self.learning_rate > 0:
            raise UserError(f"learning_rate={self.learning_rate}: give a positive number")
        if self.l2 < 0:
            raise UserError(f"l2={self.l2}: give 0 or a positive number")
