"""A layer and networks that the benchmark's tests compute: small, with every part."""

from experiments.bench.shapes import Layer
from reseg_jax.backbones.vgg import VGG16
from reseg_jax.networks.reseg import ReSegConfig

# Its stride is 2, and its upsampling 2: as large as the frame again.
CONFIG, FINETUNED = (
    ReSegConfig(
        backbone=VGG16(trainable=trainable),
        tap="conv2_1",
        patch_sizes=((1, 1), (1, 1)),
        units=(3, 4),
        num_classes=5,
        upsample_sizes=((2, 2),),
        upsample_channels=(6,),
    )
    for trainable in (False, True)
)


def tiny(cell):
    return Layer(batch=2, height=6, width=4, channels=3, units=5, patch=2, cell=cell)
