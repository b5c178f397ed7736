"""Images of many sizes, divided into a few groups of similar ones.

A batch is padded to one size and every size is compiled, so both the padding and the number of
sizes should be small. A group's size is the largest height and the largest width in it.
"""

import numpy as np


def group_by_size(sizes: np.ndarray, groups: int, least: int = 1) -> np.ndarray:
    """Groups of images that take few padded pixels, found greedily.

    Beginning with one group of all, the cut (of a group, at a height or a width) that saves the
    most padded pixels is made, until there are enough groups or no cut saves any.

    Args:
      sizes: [N, 2], height and width.
      groups: how many at most.
      least: images per group, at least, so that a small group does not make a batch of blanks.

    Returns:
      int64 [N], the group of each image, numbered from 0.
    """
    numbers = np.zeros(len(sizes), np.int64)
    for new in range(1, groups):
        cuts = [_best_cut(sizes, np.flatnonzero(numbers == group), least) for group in range(new)]
        saved, upper = max(cuts, key=lambda cut: cut[0])
        if saved <= 0:
            break
        numbers[upper] = new
    return numbers


def _best_cut(sizes, members, least):
    """(pixels saved, the members above the cut) for the best cut of a group."""
    best = 0, members[:0]
    for axis in (0, 1):
        order = members[np.argsort(sizes[members, axis], kind="stable")]
        ordered = sizes[order]
        # Row i of these: the size of a group of the first i + 1, and of one of all from i on.
        first = np.maximum.accumulate(ordered)
        rest = np.maximum.accumulate(ordered[::-1])[::-1]
        for cut in range(least, len(order) - least + 1):
            if ordered[cut - 1, axis] == ordered[cut, axis]:
                continue
            padded = cut * first[cut - 1].prod() + (len(order) - cut) * rest[cut].prod()
            saved = len(order) * first[-1].prod() - padded
            if saved > best[0]:
                best = saved, order[cut:]
    return best
