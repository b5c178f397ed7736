"""The small networks, batches and runs that tests of training share."""

import numpy as np

from reseg_jax import api
from reseg_jax.backbones.vgg import VGG16
from reseg_jax.labels import VOID, Classes
from reseg_jax.networks.reseg import ReSegConfig
from reseg_jax.training import optimizers
from reseg_jax.training.losses import Loss
from reseg_jax.training.step import make_predict_step, make_train_step

CLASSES = Classes(("left", "right"), ((255, 0, 0), (0, 0, 255)), void=9)
CONFIG = ReSegConfig.no_vgg(
    num_classes=2,
    patch_sizes=((2, 2),),
    units=(3,),
    upsample_sizes=((2, 2),),
    upsample_channels=(4,),
)
# The smallest network with a frozen part: one convolution in front of one small layer.
VGG_CONFIG = ReSegConfig(
    num_classes=2,
    backbone=VGG16(),
    tap="conv1_1",
    preprocessing="torchvision",
    patch_sizes=((2, 2),),
    units=(3,),
    upsample_sizes=((2, 2),),
    upsample_channels=(4,),
)


def images_and_labels(count, seed=0, size=(8, 10)):
    """Noise whose brighter half is class 1, some pixels void: learnable, every image different."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, *size, 3), np.uint8)
    labels = (images.mean(axis=-1) > 127).astype(np.uint8)
    labels[:, 0, :3] = VOID
    return images, labels


class Batches:
    """Four images in two batches, in an order that depends on the epoch."""

    steps_per_epoch = 2

    def __init__(self, count=4, seed=0):
        self.images, self.labels = images_and_labels(count, seed)

    def __len__(self):
        return len(self.images)

    def examples_before(self, step):
        return sum(len(self.batch(earlier)["label"]) for earlier in range(step - step % 2, step))

    def batch(self, step):
        epoch, position = divmod(step, self.steps_per_epoch)
        order = np.random.default_rng(epoch).permutation(len(self))
        chosen = order[position::2]
        return {
            "image": self.images[chosen],
            "label": self.labels[chosen],
            "size": np.array([label.shape for label in self.labels[chosen]]),
            "weight": np.ones(len(chosen), np.float32),
        }


def steps(config, l2=1e-3):
    """(optimizer, train_step, predict_step) of a network."""
    optimizer = optimizers.make("adadelta")
    logits_fn = api.build(config).logits
    train_step = make_train_step(logits_fn, optimizer, Loss(l2=l2))
    return optimizer, train_step, make_predict_step(logits_fn, config.num_classes)
