"""Scores, and what they are scores of, as the cells of a Markdown table."""

import statistics

from experiments.reporting.records import Record
from reseg_jax.metrics import percent


def table(head: tuple[str, ...], lines: list[tuple[str, ...]]) -> str:
    """A Markdown table.

    Args:
      head: titles of the columns.
      lines: rows of as many cells.
    """
    rule = ["---"] * len(head)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *lines))


def mean(shares: list[float | None], digits: int) -> str:
    """The mean of `shares` in percent; a dash if there are none, or one is None."""
    return percent(None if not shares or None in shares else statistics.mean(shares), digits)


def spread(shares: list[float | None], digits: int) -> str:
    """The mean and, of two or more shares, the standard deviation in percent.

    >>> spread([0.5, 0.52], 1)
    '51.0 ± 1.4'

    Args:
      shares: from 0 to 1, one per seed, or None if a seed has no score.
      digits: after the point.

    Returns:
      The text; a dash if there are no shares, or one is None. The deviation is the sample's, with
      n - 1 in the denominator.
    """
    text = mean(shares, digits)
    if len(shares) > 1 and None not in shares:
        text += f" ± {percent(statistics.stdev(shares), digits)}"
    return text


def printed(figure: float | list[float] | None) -> str:
    """A published figure as it is: several as a range, and a dash for none."""
    if isinstance(figure, list):
        return " to ".join(map(str, figure))
    return "-" if figure is None else str(figure)


def networks_and_views(scored: dict) -> str:
    """Which networks gave a score, and what their probabilities are averaged over.

    Args:
      scored: as `experiments.evaluate --json` writes it, or an older version did.

    Returns:
      The text; "best" is the best checkpoint of one run, one view per image.
    """
    members = scored.get("average", 1)
    if "model" in scored:
        network = "exported file"
    else:
        network = f"{members} newest checkpoints" if members > 1 else str(scored["checkpoint"])
        if (runs := scored.get("runs", 1)) > 1:
            network += f" of each of {runs} runs"
    parts = [network, *views(scored)]
    if scored.get("ten_crop"):
        parts.append("ten crops")
    if boxes := scored.get("boxes"):
        side = scored["proposal_size"]
        parts.append(f"the boxes of {boxes}" + (f" as {side}x{side}" if side else ""))
    if tile := scored.get("tile"):
        parts.append(f"tiles of {tile} that share {scored['overlap']}")
    # "discount": what the field was called before.
    if power := scored.get("logit_adjustment", scored.get("discount")):
        parts.append(f"logits adjusted by {power:g}")
    if scored.get("crf"):
        parts.append("dense CRF")
    return ", ".join(parts)


def views(scored: dict) -> list[str]:
    """What probabilities are averaged over besides networks; empty if nothing is.

    Args:
      scored: the fields of `reseg_jax.inference.ensemble.Views`; missing ones change nothing.
    """
    parts = ["mirror images"] if scored.get("flip") else []
    if (scales := scored.get("scales", [1.0])) != [1.0]:
        parts.append("scales " + " ".join(f"{scale:g}" for scale in scales))
    if samples := scored.get("samples"):
        parts.append(f"{samples} samples of dropout")
    return parts


def hardware(provenance: dict) -> str:
    """The accelerators if there are any, else the processor; "" if neither is known.

    Args:
      provenance: as `reseg_jax.training.provenance.describe` gives it; parts may be missing.
    """
    devices = [name for name in provenance.get("devices", []) if name != "cpu"]
    if devices:
        return f"{len(devices)} x {devices[0]}"
    if "cores" in provenance:
        return f"{provenance['processor'] or 'processor'}, {provenance['cores']} cores"
    return ""


def commit(provenance: dict) -> str:
    """Eight digits, and whether files differed from the commit; "" if it is not known."""
    found = provenance.get("commit") or ""
    return found[:8] + "-dirty" * found.endswith("-dirty")


def versions(provenance: dict) -> str:
    """Python's and the packages'; "" if they are not known.

    Args:
      provenance: as for `hardware`.
    """
    return ", ".join(f"{name} {each}" for name, each in provenance.get("versions", {}).items())


def minutes(record: Record) -> str:
    """How long a run took; a dash if that is not known."""
    found = record.history[-1]["minutes"]
    return "-" if found is None else f"{found:.{0 if found >= 10 else 1}f}"
