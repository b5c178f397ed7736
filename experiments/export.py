"""Make one small file of a trained run: its head, which the public VGG weights complete.

  python -m experiments.export --workdir=runs/camvid_modern --output=head.npz --logit_adjustment=0.3

`reseg_jax.load`, `experiments.predict --model` and `experiments.evaluate --model` read it. If
the backbone was trained too, or there is none, the file is complete.
"""

from pathlib import Path

from absl import flags

import data
from experiments import adjustment_flags, cli, data_flags
from reseg_jax import saving
from reseg_jax.errors import UserError
from reseg_jax.training.trained import load_run

_WORKDIR = flags.DEFINE_string("workdir", None, "folder of the run", required=True)
_CHECKPOINT = flags.DEFINE_string("checkpoint", "best", "best, latest or a step")
_OUTPUT = flags.DEFINE_string("output", None, "file to write, .npz", required=True)
flags.adopt_module_key_flags(data_flags)
flags.adopt_module_key_flags(adjustment_flags)


def main(_):
    if Path(_OUTPUT.value).suffix != ".npz":
        raise UserError(f"--output={_OUTPUT.value}: give a name that ends in .npz")
    run = load_run(_WORKDIR.value, _CHECKPOINT.value)
    variables = run.variables
    if adjustment_flags.POWER.value:
        settings = run.settings
        data_dir, texts = data_flags.moved(settings.data_dir, settings.data_options)
        options, reading = data.parse_options(texts), run.classes and run.classes.reading
        train = data.load(settings.dataset, "train", data_dir, reading, **options)
        truths = (example.label for example in train)
        variables = adjustment_flags.adjustment(truths, run.config.num_classes)(variables)
    saving.save(_OUTPUT.value, run.config, variables, head_only=True, classes=run.classes)
    size = Path(_OUTPUT.value).stat().st_size
    print(
        f"checkpoint {run.name} (step {run.step}) of {_WORKDIR.value}, {size / 1e6:.1f} MB: ",
        end="",
    )
    print(_OUTPUT.value)


if __name__ == "__main__":
    cli.run(main)
