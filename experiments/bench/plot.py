"""The sections as pictures; only this file needs matplotlib."""

import importlib.util
import math
from pathlib import Path

from experiments.bench.measuring import Section
from experiments.bench.ours import OURS
from experiments.bench.report import best_torch, summaries
from experiments.bench.shapes import MODES

COLUMNS = 3


def installed() -> bool:
    """Whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def draw(sections: list[Section], path: Path) -> None:
    """Draws a PNG of one panel per section: bars with quartiles, or time against size."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    panels = {}
    for section in sections:
        if section.rows:
            grows, mode = section.about.get("grows"), section.about.get("mode")
            title = f"growth with {grows}; {MODES[mode]}" if grows else section.title
            panels.setdefault(title, []).append(section)
    rows = math.ceil(len(panels) / COLUMNS)
    figure, axes = pyplot.subplots(
        max(rows, 1), COLUMNS, figsize=(8 * COLUMNS, 5 * max(rows, 1)), squeeze=False
    )
    for axis in axes.flat[len(panels) :]:
        axis.remove()
    for axis, (title, shown) in zip(axes.flat, panels.items(), strict=False):
        axis.set_title(title.replace("; ", "\n"), fontsize=9)
        if shown[0].about.get("grows"):
            _growth(axis, shown)
        elif shown[0].about["kind"] == "compile":
            _compile_times(axis, *shown)
        else:
            _bars(axis, *shown)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
    pyplot.close(figure)


def _bars(axis, section):
    compared = summaries(section)
    # A loop without jit is an order of magnitude slower: its number is in the table.
    limit = 10 * compared[section.reference].median
    shown = {name: found for name, found in compared.items() if found.median < limit}
    medians = [1e3 * found.median for found in shown.values()]
    below = [1e3 * (found.median - found.low) for found in shown.values()]
    above = [1e3 * (found.high - found.median) for found in shown.values()]
    colors = ["tab:orange" if name.startswith(OURS) else "tab:gray" for name in shown]
    bars = axis.barh(list(shown), medians, xerr=(below, above), color=colors)
    axis.bar_label(bars, fmt="%.0f", label_type="center", fontsize=7)
    axis.invert_yaxis()
    axis.tick_params(axis="y", labelsize=7)
    axis.set_xlabel("ms, median and quartiles")


def _growth(axis, sections):
    lines = {}
    for section in sections:
        for name, found in summaries(section).items():
            if name.startswith("torch"):
                if name != best_torch(section):
                    continue
                name = "best torch"
            lines.setdefault(name, []).append((section.flops / 1e9, 1e3 * found.median))
    for name, points in lines.items():
        axis.loglog(*zip(*sorted(points), strict=True), marker="o", label=name)
    axis.set_xlabel("GFLOP")
    axis.set_ylabel("ms")
    axis.legend(fontsize=7)


def _compile_times(axis, section):
    for name, row in section.rows.items():
        if row["grids"]:
            axis.loglog(*zip(*row["grids"], strict=True), marker="o", label=name)
    axis.set_xlabel("steps of both sublayers")
    axis.set_ylabel("seconds to compile")
    axis.legend(fontsize=7)
