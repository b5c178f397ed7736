"""The sections as text and as JSON."""

import dataclasses

from experiments.bench.measuring import Section
from experiments.bench.ours import AUTODIFF, FLAX, FLOOR, OURS
from experiments.bench.timing import Summary, fastest, summarize


def summaries(section: Section) -> dict[str, Summary]:
    """Each row's times, compared with ours."""
    rows = section.rows
    first = rows[section.reference]["seconds"]
    return {name: summarize(row["seconds"], first) for name, row in rows.items()}


def as_json(section: Section) -> dict:
    """A section with its summaries; the raw times of the rounds stay beside them."""
    plain = dataclasses.asdict(section)
    if section.reference in section.rows:
        for name, summary in summaries(section).items():
            plain["rows"][name] |= summary._asdict()
    return plain


def table(section: Section, peak: float, bandwidth: float) -> str:
    """A section for the terminal; peak in FLOP/s, bandwidth in bytes/s."""
    lines = ["", f"## {section.title}"]
    if section.about["kind"] == "compile":
        lines += _compile_table(section) if section.rows else []
    elif section.reference in section.rows:
        lines += _time_table(section, peak, bandwidth)
    lines += [f"  not run: {name}, because: {why}" for name, why in section.not_run.items()]
    return "\n".join(lines)


def _time_table(section, peak, bandwidth):
    lines = []
    if section.flops:
        least = max(section.flops / peak, section.bytes / bandwidth)
        lines.append(
            f"  {section.flops / 1e9:.1f} GFLOP and {section.bytes / 1e6:.0f} MB at least: "
            f"{1e3 * least:.1f} ms at the machine's peak"
        )
    width = max(map(len, section.rows))
    head = f"{'ms':>9}{'quartiles':>18}{_times(section):>8}{'rounds':>7}"
    head += f"{'compile s':>10}{'temp MiB':>9}"
    work = f"{'GFLOP/s':>9}{'% peak':>7}{'GB/s':>7}{'% copy':>7}" if section.flops else ""
    lines.append(f"  {'':{width}}{head}{work}")
    for name, summary in summaries(section).items():
        row = section.rows[name]
        median, low, high, ratio = summary
        quartiles = f"{1e3 * low:.1f}-{1e3 * high:.1f}"
        compile_seconds = _or_dash(row["compile_seconds"], 1, ".1f")
        memory = _or_dash(row["memory"], 2**20, ".0f")
        line = f"  {name:{width}}{1e3 * median:9.1f}{quartiles:>18}{ratio:8.2f}"
        line += f"{len(row['seconds']):7}{compile_seconds:>10}{memory:>9}"
        if section.flops:
            rate, traffic = section.flops / median, section.bytes / median
            line += f"{rate / 1e9:9.1f}{100 * rate / peak:7.0f}"
            line += f"{traffic / 1e9:7.1f}{100 * traffic / bandwidth:7.0f}"
        lines.append(line)
    return lines + _verdicts(section)


def _times(section):
    return "x ours" if section.reference == OURS else "x first"


def _or_dash(value, unit, form):
    return "-" if value is None else format(value / unit, form)


def _verdicts(section):
    """Ours beside what a user would choose instead."""
    compared, rows = summaries(section), section.rows
    lines = []
    if torch := best_torch(section):
        lines.append(f"  best torch ({torch}) takes {compared[torch].ratio:.2f} x our time")
    for name in FLAX:
        if name in compared:
            lines.append(f"  {name} takes {compared[name].ratio:.2f} x our time")
    if FLOOR in compared:
        lines.append(f"  its matrix products take {compared[FLOOR].ratio:.2f} x our time")
    theirs, own = (rows.get(name, {}).get("memory") for name in (AUTODIFF, OURS))
    if theirs and own and section.about.get("mode") != "forward":
        lines.append(
            f"  our temporary memory is {own / theirs:.2f} x that of autodiff through the scan"
        )
    for name, row in rows.items():
        if "rates" in row:
            found = summarize(*([1 / rate for rate in rows[key]["rates"]] for key in (name, OURS)))
            whole = section.about["frames"] / compared[name].median
            lines.append(
                f"  {name}: {1 / found.median:.2f} frames/s after start-up ({found.ratio:.2f} x "
                f"our time), {whole:.2f} with it"
            )
    if section.about.get("part") == "network":
        lines.append(f"  {1 / compared[OURS].median:.2f} frames/s")
    return lines


def growth(sections: list[Section]) -> str:
    """One line per shape: the summary of a scaling run."""
    head = ("ours ms", "autodiff", "linen", "torch", "compile s", "temp MiB")
    lines = ["", "## growth: autodiff, flax.linen and the best torch in times of ours"]
    width = max(len(section.title) for section in sections)
    lines.append(f"  {'':{width}}" + "".join(f"{name:>10}" for name in head))
    for section in sections:
        line = f"  {section.title:{width}}"
        if section.rows:
            compared, ours = summaries(section), section.rows[OURS]
            line += f"{1e3 * compared[OURS].median:10.1f}"
            for name in (AUTODIFF, FLAX[0], best_torch(section)):
                line += f"{compared[name].ratio:10.2f}" if name in compared else f"{'-':>10}"
            line += f"{ours['compile_seconds']:10.1f}{_or_dash(ours['memory'], 2**20, '.0f'):>10}"
        else:
            line += f"{'not run':>10}"
        lines.append(line)
    return "\n".join(lines)


def best_torch(section: Section) -> str | None:
    """The fastest of torch's rows; None if there is none."""
    times = {name: row["seconds"] for name, row in section.rows.items()}
    return fastest(times, [name for name in times if name.startswith("torch")])


def _compile_table(section):
    steps = sorted({steps for row in section.rows.values() for steps, _ in row["grids"]})
    width = max(map(len, section.rows))
    lines = [f"  {'seconds to compile; steps:':{width}}" + "".join(f"{n:8}" for n in steps)]
    for name, row in section.rows.items():
        seconds = dict(row["grids"])
        cells = (f"{seconds[n]:8.2f}" if n in seconds else f"{'-':>8}" for n in steps)
        lines.append(f"  {name:{width}}" + "".join(cells))
    return lines
