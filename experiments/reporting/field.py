"""The table of the field: a row for each network of our sources, with what it scores and costs."""

import json
from collections.abc import Iterator
from pathlib import Path

from experiments.presets import PRESETS
from experiments.reporting.markdown import hardware, minutes, printed, spread, table, versions
from experiments.reporting.records import Record
from reseg_jax.errors import UserError
from reseg_jax.files import atomic

COSTS = Path(__file__).parents[2] / "results" / "costs.json"

_FRAME = (480, 360)  # width and height of the CamVid frames that all are trained on
_HEAD = ("Network", "preset", "published test mIoU", "its size", "its other data", "evidence")
_HEAD += ("our validation mIoU", "frames", "epochs", "minutes")
_HEAD += ("million parameters", "GFLOPs", "ms an image", "peak MB")
_ABOUT = """Published figures are of the test split, ours of the validation split, which flatters:
compare ours with each other. "Frames" is the size that a run was trained and validated at.
Parameters, FLOPs (a multiplication and an addition are two), milliseconds and peak memory of the
process are those of predicting one image, once (Bayesian forms without samples), measured by
`python -m experiments.costs` at {conditions}."""
_NOT_MEASURED = "not run, because `python -m experiments.costs` was not"


def presets() -> Iterator[str]:
    """The presets of the table: of ReSeg only the paper's own, of the others all on CamVid."""
    reseg = type(PRESETS["camvid"].config)
    for name, preset in PRESETS.items():
        if name == "camvid" or (name.startswith("camvid_") and type(preset.config) is not reseg):
            yield name


def read(path: Path = COSTS) -> dict[str, dict]:
    """{preset: what `experiments.costs` measured of it}.

    Raises:
      UserError: the file is damaged.
    """
    try:
        return dict(json.loads(atomic.read_file(path)))
    except (ValueError, TypeError) as error:
        raise UserError(f"{path} is damaged ({error}): restore it, or remove it") from error


def section(published: dict, rows: dict[str, list[Record]], costs: dict[str, dict]) -> str:
    """The table, below what its columns are.

    Args:
      published: the entry "field" of results/published.json.
      rows: the runs.
      costs: as from `read`.
    """
    figures = {row["preset"]: row for row in published["rows"]}
    not_run = f"not run, because {published['not_run']}"
    lines = [
        _line(name, figures[name], _runs(name, rows), not_run, costs.get(name))
        for name in presets()
    ]
    blocks = [table(_HEAD, lines)]
    if costs:  # all alike, see `experiments.costs`
        measured = conditions(next(iter(costs.values())))
        blocks.insert(0, _ABOUT.format(conditions=measured).replace("\n", " "))
    return "\n\n".join(blocks)


def conditions(cost: dict) -> str:
    """Size of the image, machine and versions that costs were measured with."""
    height, width = cost["size"]
    return f"{width}x{height} on {hardware(cost['provenance'])}, {versions(cost['provenance'])}"


def _runs(name, rows):
    """The records of a preset's runs, at another size if there are none at its own."""
    for row in (name, *(row for row in rows if row.startswith(f"{name}, shrink="))):
        if row in rows and (row == name or len(rows[row][0].changes) == 1):
            return rows[row]
    return []


def _line(name, figures, records, not_run, cost):
    published_cells = (
        printed(figures["iou"]),
        figures["size"] or "-",
        figures["data"] or "-",
        figures["evidence"] or "no figure is known",
    )
    ours = (not_run, "-", "-", "-")
    if records:
        ours = (
            spread([record.best["miou"] for record in records], 2),
            _trained_at(records[0].run.settings.shrink),
            ", ".join(str(len(record.history)) for record in records),
            ", ".join(map(minutes, records)),
        )
    costs = (_NOT_MEASURED, "-", "-", "-")
    if cost:
        costs = (
            f"{cost['parameters'] / 1e6:.3f}",
            f"{cost['flops'] / 1e9:.1f}",
            f"{cost['milliseconds']:.0f}",
            str(cost["megabytes"]),
        )
    return (figures["network"], name, *published_cells, *ours, *costs)


def _trained_at(shrink):
    width, height = _FRAME
    return f"{-(-width // shrink)}x{-(-height // shrink)}"
