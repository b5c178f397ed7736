"""Search the parameters of the dense CRF on validation images, on a grid as DeepLab does.

  python -m experiments.tune_crf --workdir=runs/camvid
  python -m experiments.tune_crf --workdir=runs/camvid --w1=2,3 --sigma_alpha=20,30 --sigma_beta=6
  python -m experiments.tune_crf --model=camvid --dataset=camvid --limit=20 --json=crfs.json

The network computes each image once, and every CRF of the grid refines the same probabilities. The
table has the mIoU of each, the best first, and that of the network by itself; the last line is the
best CRF as flags for `evaluate` and `predict`. DeepLab (Chen et al. 2018) searches coarsely, then
finely: that is a second call with lists around the best. Networks, averages and images are named as
for `evaluate`, and so are the parameters that stay: --crf --crf_w2=2.
"""

import dataclasses
import itertools
import json
import math

from absl import flags

from experiments import cli, crf_flags, ensemble_flags, evaluate, part_flags
from experiments.counting import count
from reseg_jax import metrics
from reseg_jax.errors import UserError
from reseg_jax.files import atomic, config_json
from reseg_jax.inference.crf import CRF

# The ends and the middle of the ranges that DeepLab searches, by steps of 1, 10 and 1.
_GRID = {
    "w1": flags.DEFINE_list("w1", ["3", "6"], "weights of the appearance kernel to try"),
    "sigma_alpha": flags.DEFINE_list("sigma_alpha", ["30", "65", "100"], "its reaches in pixels"),
    "sigma_beta": flags.DEFINE_list("sigma_beta", ["3", "6"], "its reaches in levels of color"),
}
_LIMIT = flags.DEFINE_integer(
    "limit", 100, "images, evenly spread over the split [as many as DeepLab's search uses]", 1
)
flags.adopt_module_key_flags(evaluate)


def main(_):
    split, tried = evaluate.SPLIT.value, grid(crf_flags.chosen() or CRF())
    if split == "test":
        raise UserError(
            "--split=test: parameters are chosen on validation images, and `evaluate` scores the "
            "test split once, with the flags that this command prints for them"
        )
    if evaluate.BOUNDARY.value is not None:
        raise UserError("--boundary: CRFs are compared by mean IoU only, so leave it out")
    views, parts, networks = ensemble_flags.views(), part_flags.load(), ensemble_flags.load()
    dataset, _, _, load = evaluate.dataset_of(networks)
    examples = spread(load(split), _LIMIT.value)
    print(f"{len(examples)} images of {dataset} {split}, {len(tried)} CRFs")
    networks = evaluate.adjusted(networks, load)
    counted, _ = count(networks, examples, views, parts, crfs=tried)
    # Before those of the CRFs: of several networks by themselves, and of all together.
    without, *mious = [metrics.summarize(sum(each))["miou"] for each in counted[-1 - len(tried) :]]
    found = sorted(zip(mious, tried, strict=True), key=lambda pair: pair[0], reverse=True)
    print(format_table(found))
    print(f"mIoU without a CRF {metrics.percent(without, 2)}")
    if evaluate.JSON.value:
        rows = [{"miou": miou, "crf": config_json.to_dict(crf)} for miou, crf in found]
        about = {"split": split, "images": len(examples), "without_crf": without, "crfs": rows}
        atomic.write_file(evaluate.JSON.value, (json.dumps(about, indent=2) + "\n").encode())
    print(f"best: {crf_flags.typed(found[0][1])}")


def grid(crf: CRF) -> list[CRF]:
    """`crf` with every combination of the parameters that the flags list."""
    columns = []
    for flag in _GRID.values():
        try:
            columns.append([float(value) for value in flag.value])
        except ValueError:
            raise UserError(
                f"--{flag.name}={','.join(flag.value)}: give numbers, as {','.join(flag.default)}"
            ) from None
        if not columns[-1]:
            raise UserError(f"--{flag.name}: give at least one number")
    return [
        dataclasses.replace(crf, **dict(zip(_GRID, values, strict=True)))
        for values in itertools.product(*columns)
    ]


def spread(examples: list, most: int) -> list:
    """At most this many examples, evenly spread; neighbors in a film are alike."""
    return examples[:: math.ceil(len(examples) / most)]


def format_table(found: list[tuple[float, CRF]]) -> str:
    """(mIoU, CRF) pairs as an aligned text table, a line each."""
    lines = [" ".join([f"{'mIoU':>6}", *(f"{name:>12}" for name in _GRID)])]
    for miou, crf in found:
        values = (f"{getattr(crf, name):>12g}" for name in _GRID)
        lines.append(" ".join([f"{metrics.percent(miou, 2):>6}", *values]))
    return "\n".join(lines)


if __name__ == "__main__":
    cli.run(main)
