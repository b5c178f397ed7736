"""Validation scores over epochs and over minutes, as a picture; needs matplotlib."""

from pathlib import Path

from experiments.reporting.records import Record
from reseg_jax.errors import UserError


def draw(rows: dict[str, list[Record]], path: Path) -> None:
    """One line of panels a dataset: its runs' validation mIoU, in per cent; a colour a row."""
    try:
        import matplotlib
    except ImportError:
        raise UserError("--plot draws with matplotlib: pip install '.[bench]'") from None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    datasets = sorted({records[0].settings.dataset for records in rows.values()})
    if not datasets:
        raise UserError("--plot: there is no run to draw; --runs names folders with some")
    figure, axes = pyplot.subplots(
        len(datasets), 2, figsize=(14, 5 * len(datasets)), squeeze=False, sharey="row"
    )
    for (over_epochs, over_minutes), dataset in zip(axes, datasets, strict=True):
        over_epochs.set(title=dataset, xlabel="epochs", ylabel="validation mIoU, %")
        over_minutes.set(title=dataset, xlabel="minutes of training and validation")
        shown = [row for row in rows.items() if row[1][0].settings.dataset == dataset]
        for index, (row, records) in enumerate(shown):
            for record in records:
                points = [(e["epoch"], e["minutes"], e["miou"] or 0.0) for e in record.history]
                epochs, minutes, mious = zip(*points, strict=True)
                label = row if record is records[0] else None
                style = {"color": f"C{index}", "label": label}
                over_epochs.plot(epochs, [100 * miou for miou in mious], **style)
                if None not in minutes:
                    over_minutes.plot(minutes, [100 * miou for miou in mious], **style)
        over_epochs.legend(fontsize=7)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
    pyplot.close(figure)
