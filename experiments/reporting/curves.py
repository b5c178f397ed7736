"""Validation scores over epochs and over minutes, as a picture; needs matplotlib."""

from pathlib import Path

from experiments.reporting.records import Record
from reseg_jax.errors import UserError


def draw(rows: dict[str, list[Record]], path: Path) -> None:
    """Write two panels for each set of images: its runs' validation mIoU in percent.

    Args:
      rows: {row: its records, one per seed}, as `records.merge` gives it; a row has one color.
      path: of the picture; its suffix gives the format.

    Raises:
      UserError: matplotlib is missing, or there is no run.
    """
    try:
        import matplotlib
    except ImportError:
        raise UserError("--plot draws with matplotlib: pip install '.[bench]'") from None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    kinds = sorted({_images(records[0]) for records in rows.values()})
    if not kinds:
        raise UserError("--plot: there is no run to draw; --runs names folders with some")
    shown = [[row for row in rows.values() if _images(row[0]) == images] for images in kinds]
    heights = [3 + 0.18 * len(kind) for kind in shown]  # inches: the axes, and a legend's lines
    figure = pyplot.figure(figsize=(14, sum(heights)), layout="constrained")
    parts = figure.subfigures(len(kinds), 1, height_ratios=heights, squeeze=False)[:, 0]
    for part, images, kind in zip(parts, kinds, shown, strict=True):
        over_epochs, over_minutes = part.subplots(1, 2, sharey=True)
        over_epochs.set(title=images, xlabel="epochs", ylabel="validation mIoU, %")
        over_minutes.set(title=images, xlabel="minutes of training and validation")
        for index, records in enumerate(kind):
            for record in records:
                points = [(e["epoch"], e["minutes"], e["miou"] or 0.0) for e in record.history]
                epochs, minutes, mious = zip(*points, strict=True)
                label = _label(record) if record is records[0] else None
                # Matplotlib's cycle has ten colors.
                style = {"color": f"C{index % 10}", "linestyle": ("-", "--", ":")[index // 10 % 3]}
                over_epochs.plot(epochs, [100 * miou for miou in mious], label=label, **style)
                if None not in minutes:
                    over_minutes.plot(minutes, [100 * miou for miou in mious], **style)
        part.legend(fontsize=7, loc="outside lower left")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
    pyplot.close(figure)


def _images(record):
    """The images that a run was trained and validated on."""
    return ", ".join((record.run.settings.dataset, *record.run.settings.data_options))


def _label(record):
    """The run's row without what the title says."""
    changes = (change for change in record.changes if not change.startswith("data_options="))
    return ", ".join((record.preset, *changes))
