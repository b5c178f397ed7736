"""The table of the field: a row for each network of our sources, with what it scores and costs."""

import json
from collections.abc import Iterator
from pathlib import Path

from experiments.presets import PRESETS
from experiments.reporting.markdown import hardware, printed, spread, table
from experiments.reporting.records import Record
from reseg_jax.errors import UserError
from reseg_jax.files import atomic

COSTS = Path(__file__).parents[2] / "results" / "costs.json"

_FRAME = (480, 360)  # width and height of the CamVid frames that all are trained on
_HEAD = ("Network", "preset", "published test mIoU", "its size", "its other data", "evidence")
_HEAD += ("our validation mIoU", "trained at", "epochs", "minutes")
_HEAD += ("million parameters", "GFLOPs", "ms an image", "peak MB")
_ABOUT = """Published figures are of the test split, ours of the validation split, which flatters:
compare ours with each other. "Trained at" is the size of the frames, of which a run may see crops.
Parameters, FLOPs (a multiplication and an addition are two), milliseconds and peak memory of the
process are those of predicting one image of {size}, measured by `python -m experiments.costs` on
{machine}."""
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
    measured = next(iter(costs.values()), None)
    about = "" if measured is None else _ABOUT.format(**_where(measured)).replace("\n", " ")
    return "\n\n".join(filter(None, (about, table(_HEAD, lines))))


def _where(cost):
    height, width = cost["size"]
    versions = ", ".join(f"{name} {each}" for name, each in cost["provenance"]["versions"].items())
    machine = f"{hardware(cost['provenance'])}, {versions}"
    return {"size": f"{width}x{height}", "machine": machine}


def _runs(name, rows):
    """The records of a preset's runs, at another size if there are none at its own."""
    for row in (name, *(row for row in rows if row.startswith(f"{name}, shrink="))):
        if row in rows and (row == name or len(rows[row][0].changes) == 1):
            return rows[row]
    return []


def _line(name, figures, records, not_run, cost):
    published_cells = (
        "-" if figures["iou"] is None else printed(figures["iou"]),
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
            ", ".join(f"{record.history[-1]['minutes'] or 0:.0f}" for record in records),
        )
    costs = (_NOT_MEASURED, "-", "-", "-")
    if cost:
        costs = (
            f"{cost['parameters'] / 1e6:.3f}",
            f"{cost['flops'] / 1e9:.1f}",
            f"{cost['milliseconds']:.0f}",
            "-" if cost["megabytes"] is None else str(cost["megabytes"]),
        )
    return (figures["network"], name, *published_cells, *ours, *costs)


def _trained_at(shrink):
    width, height = _FRAME
    return f"{-(-width // shrink)}x{-(-height // shrink)}"
