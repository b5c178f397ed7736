"""Figures as the cells of a Markdown table."""

import statistics


def table(head: tuple[str, ...], lines: list[tuple[str, ...]]) -> str:
    """A table; a line has a cell for each of `head`."""
    rule = ["---"] * len(head)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *lines))


def spread(shares: list[float | None], digits: int) -> str:
    """Mean and, of two and more, standard deviation, in per cent; a dash where one is missing.

    >>> spread([0.5, 0.52], 1)
    '51.0 ± 1.4'
    """
    if not shares or None in shares:
        return "-"
    text = mean(shares, digits)
    if len(shares) > 1:
        text += f" ± {100 * statistics.stdev(shares):.{digits}f}"
    return text


def mean(shares: list[float | None], digits: int) -> str:
    """The mean in per cent; a dash where a share is missing."""
    if not shares or None in shares:
        return "-"
    return f"{100 * statistics.mean(shares):.{digits}f}"


def printed(figure: float | list[float] | None) -> str:
    """A published figure as it is, several as a range, a dash for none."""
    if isinstance(figure, list):
        return " to ".join(map(str, figure))
    return "-" if figure is None else str(figure)


def averaged(scored: dict) -> str:
    """What a score is of: which checkpoint, and what its probabilities are averaged over.

    scored: as `experiments.evaluate --json` writes it; "best" is one network at one look.
    """
    members = scored.get("average", 1)
    if "model" in scored:
        parts = ["exported file"]
    else:
        parts = [f"{members} newest checkpoints" if members > 1 else str(scored["checkpoint"])]
        if (runs := scored.get("runs", 1)) > 1:
            parts[0] += f" of each of {runs} runs"
    if scored.get("flip"):
        parts.append("mirror images")
    if (scales := scored.get("scales", [1.0])) != [1.0]:
        parts.append("scales " + " ".join(f"{scale:g}" for scale in scales))
    if samples := scored.get("samples"):
        parts.append(f"{samples} samples of dropout")
    if discount := scored.get("discount"):
        parts.append(f"frequencies discounted by {discount:g}")
    return ", ".join(parts)


def hardware(provenance: dict) -> str:
    """Accelerators where there are any, else the processor; "" where neither is known."""
    devices = [name for name in provenance.get("devices", []) if name != "cpu"]
    if devices:
        return f"{len(devices)} x {devices[0]}"
    if "cores" in provenance:
        return f"{provenance['processor'] or 'processor'}, {provenance['cores']} cores"
    return ""


def commit(provenance: dict) -> str:
    """Eight digits, and whether files differed from it; "" where it is not known."""
    found = provenance.get("commit") or ""
    return found[:8] + "-dirty" * found.endswith("-dirty")
