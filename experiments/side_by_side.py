"""Scores of several networks, each by itself and all together."""

from experiments.ensemble_flags import Networks
from reseg_jax import metrics, saving

READINGS = {
    "miou": "mIoU",
    "global_accuracy": "global accuracy",
    "mean_class_accuracy": "mean class accuracy",
}
"""Score of `metrics.summarize` -> its name in the table."""


def format_table(rows: dict[str, dict]) -> str:
    """The scores in percent as an aligned text table.

    Args:
      rows: {what a row is of: its scores, of `metrics.summarize`}.

    Returns:
      One line per row.
    """
    width = max(map(len, rows))
    lines = ["  ".join([" " * width, *READINGS.values()])]
    for name, scores in rows.items():
        cells = [f"{metrics.percent(scores[key], 2):>{len(READINGS[key])}}" for key in READINGS]
        lines.append("  ".join([f"{name:<{width}}", *cells]))
    return "\n".join(lines)


def read(scores: dict) -> dict:
    """The scores that the table has, of `metrics.summarize`."""
    return {key: scores[key] for key in READINGS}


def described(networks: Networks, summaries: list[dict]) -> list[dict]:
    """What each group of networks is and scored by itself, for the JSON."""
    return [
        {
            "name": name,
            "config": saving.config_to_dict(group[0][0]),
            **read(scores),
        }
        for name, group, scores in zip(networks.names, networks.groups, summaries, strict=True)
    ]
