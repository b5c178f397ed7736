"""The ReNet classifier on digits."""

from experiments.presets.recipes import Preset
from reseg_jax.networks.renet import ReNetConfig
from reseg_jax.training.settings import TrainSettings

PRESETS = {
    "digits": Preset(
        "Visin et al. 2015, the ReNet classifier: no figure on these digits is known",
        # Two layers, as the paper has for digits of 28x28; the widths and the training are our
        # choice, so that it learns them within a minute on two cores.
        ReNetConfig(patch_sizes=((2, 2), (2, 2)), units=(32, 32), fc_channels=(256,)),
        TrainSettings(
            dataset="digits",
            epochs=10,
            batch_size=16,
            optimizer="adam",
            learning_rate=3e-3,
            schedule="poly",
            l2=0.0,
            patience=10,
        ),
    ),
}
