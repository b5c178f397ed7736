"""Validation scores over epochs and over minutes, as a picture; needs matplotlib."""

from pathlib import Path

from experiments.reporting.records import Record
from reseg_jax.errors import UserError


def draw(rows: dict[str, list[Record]], path: Path) -> None:
    """Two panels for each set of images: its runs' validation mIoU, per cent; a colour a row."""
    try:
        import matplotlib
    except ImportError:
        raise UserError("--plot draws with matplotlib: pip install '.[bench]'") from None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    kinds = sorted({_images(records[0]) for records in rows.values()})
    if not kinds:
        raise UserError("--plot: there is no run to draw; --runs names folders with some")
    figure, axes = pyplot.subplots(
        len(kinds), 2, figsize=(14, 4 * len(kinds)), squeeze=False, sharey="row"
    )
    for (over_epochs, over_minutes), images in zip(axes, kinds, strict=True):
        over_epochs.set(title=images, xlabel="epochs", ylabel="validation mIoU, %")
        over_minutes.set(title=images, xlabel="minutes of training and validation")
        shown = [row for row in rows.items() if _images(row[1][0]) == images]
        for index, (row, records) in enumerate(shown):
            for record in records:
                points = [(e["epoch"], e["minutes"], e["miou"] or 0.0) for e in record.history]
                epochs, minutes, mious = zip(*points, strict=True)
                label = row if record is records[0] else None
                style = {"color": f"C{index}", "label": label}
                over_epochs.plot(epochs, [100 * miou for miou in mious], **style)
                if None not in minutes:
                    over_minutes.plot(minutes, [100 * miou for miou in mious], **style)
        over_epochs.legend(fontsize=7, loc="upper left", bbox_to_anchor=(0, -0.2))
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
    pyplot.close(figure)


def _images(record):
    """What a run trained on and was validated on."""
    return ", ".join((record.settings.dataset, *record.settings.data_options))
