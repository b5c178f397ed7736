"""What `evaluate --boundary` adds: scores of the segments that a class separates."""

import numpy as np

from reseg_jax import metrics
from reseg_jax.errors import UserError
from reseg_jax.labels import Classes
from reseg_jax.partition_metrics import Overlaps, information, matched_jaccards, rand

AGREEMENTS = {"v_rand": ("V_rand", rand), "v_info": ("V_info", information)}
"""Key in the JSON -> name in the table, and the score."""


def boundary_class(name: str, classes: Classes) -> int:
    """The number of the class that separates segments.

    Raises:
      UserError: there is no such class.
    """
    if name not in classes.names:
        raise UserError(
            f"--boundary={name} is no class: give one of {', '.join(classes.names)}, that which "
            "separates what is counted"
        )
    return classes.names.index(name)


def summarize(images: list[Overlaps]) -> dict:
    """Scores of all images' segments, ready for JSON.

    Args:
      images: the overlaps of each image.

    Returns:
      {"v_rand", "v_info": {"fscore", "split", "merge"}, means of the images' as in the challenge;
      "seg": the mean over all true segments; "true_segments": how many}. Scores are shares from 0
      to 1, or None if there is no true segment.
    """
    summary = {}
    for key, (_, score) in AGREEMENTS.items():
        found = [agreement for image in images if (agreement := score(image))]
        names = ("fscore", "split", "merge")
        means = np.mean(found, axis=0).tolist() if found else (None,) * len(names)
        summary[key] = dict(zip(names, means, strict=True))
    jaccards = np.concatenate([matched_jaccards(image) for image in images])
    summary["seg"] = float(jaccards.mean()) if jaccards.size else None
    return summary | {"true_segments": len(jaccards)}


def format_table(summary: dict, boundary: str) -> str:
    """The scores in percent as an aligned text table.

    Args:
      summary: of `summarize`.
      boundary: name of the class that separates.
    """
    lines = [f"segments separated by {boundary}", "        F-score    split    merge"]
    for key, (name, _) in AGREEMENTS.items():
        cells = [metrics.percent(share, 2) for share in summary[key].values()]
        lines.append(f"{name:<6}" + "".join(f"{cell:>9}" for cell in cells))
    count = summary["true_segments"]
    lines.append(f"{'SEG':<6}{metrics.percent(summary['seg'], 2):>9}  of {count} true segments")
    return "\n".join(lines)
