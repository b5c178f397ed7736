"""The sections as a picture; only this file needs matplotlib.

Drawn for a page that shows it 800 pixels wide: two panels side by side, letters of 11 pixels.
"""

import importlib.util
import math
import textwrap
from pathlib import Path

from experiments.bench.measuring import Section
from experiments.bench.ours import OURS
from experiments.bench.report import best_torch, summaries
from experiments.bench.shapes import MODES

COLUMNS = 2
WIDTH, DPI = 8.0, 200  # inches and dots per inch: 100 pixels of the page for an inch
LETTERS = 8  # points: 11 pixels of the page
PER_LINE = 26, 48  # letters in a line of a row's name and of a title
SIDE, BAR, AROUND = 2.6, 0.24, 1.0  # inches: height of curves, of a bar, of titles and axes


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
    count = max(math.ceil(len(panels) / COLUMNS), 1)
    heights = [_height(shown) for shown in panels.values()] or [SIDE]
    heights = [max(heights[COLUMNS * row : COLUMNS * (row + 1)]) for row in range(count)]
    with matplotlib.rc_context({"font.size": LETTERS}):
        figure, axes = pyplot.subplots(
            count,
            COLUMNS,
            figsize=(WIDTH, sum(heights)),
            height_ratios=heights,
            squeeze=False,
            layout="constrained",
        )
        figure.get_layout_engine().set(h_pad=0.12)
        for axis in axes.flat[len(panels) :]:
            axis.remove()
        for axis, (title, shown) in zip(axes.flat, panels.items(), strict=False):
            lines = (textwrap.fill(part, PER_LINE[1]) for part in title.split("; "))
            axis.set_title("\n".join(lines), fontsize=LETTERS, loc="right")
            _draw(axis, shown)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=DPI)
        pyplot.close(figure)


def _is_bars(shown):
    return not shown[0].about.get("grows") and shown[0].about["kind"] != "compile"


def _height(shown):
    """Inches of a panel with all around it."""
    if not _is_bars(shown):
        return SIDE + AROUND
    return AROUND + BAR * sum(math.ceil(len(name) / PER_LINE[0]) for name in _bars(*shown))


def _draw(axis, shown):
    if _is_bars(shown):
        _draw_bars(axis, *shown)
    elif shown[0].about.get("grows"):
        _draw_growth(axis, shown)
    else:
        _draw_compile_times(axis, *shown)


def _bars(section):
    """The rows to draw: a loop without jit is an order of magnitude slower, and in the table."""
    compared = summaries(section)
    limit = 10 * compared[section.reference].median
    return {name: found for name, found in compared.items() if found.median < limit}


def _draw_bars(axis, section):
    shown = _bars(section)
    medians = [1e3 * found.median for found in shown.values()]
    below = [1e3 * (found.median - found.low) for found in shown.values()]
    above = [1e3 * (found.high - found.median) for found in shown.values()]
    colors = ["tab:orange" if name.startswith(OURS) else "tab:gray" for name in shown]
    names = [textwrap.fill(name, PER_LINE[0]) for name in shown]
    bars = axis.barh(names, medians, xerr=(below, above), color=colors)
    axis.bar_label(bars, labels=[f" {_digits(ms)}" for ms in medians])
    axis.set_xlim(0, 1.25 * max(median + more for median, more in zip(medians, above, strict=True)))
    axis.locator_params(axis="x", nbins=4)
    axis.invert_yaxis()
    axis.set_xlabel("ms, median and quartiles")


def _digits(ms):
    return f"{ms:.0f}" if ms >= 10 else f"{ms:.2g}"


def _draw_growth(axis, sections):
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
    axis.legend(fontsize="small")


def _draw_compile_times(axis, section):
    for name, row in section.rows.items():
        axis.loglog(*zip(*row["grids"], strict=True), marker="o", label=name)
    steps = sorted({steps for row in section.rows.values() for steps, _ in row["grids"]})
    axis.set_xticks(steps, steps)
    axis.minorticks_off()
    axis.set_xlabel("steps of both sublayers")
    axis.set_ylabel("seconds to compile")
    axis.legend(fontsize="small")
