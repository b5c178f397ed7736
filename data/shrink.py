"""Examples made smaller, for networks that would take too long at full size."""

import numpy as np
from PIL import Image

from data.example import Example


def shrunk(example: Example, factor: int) -> Example:
    """An example of 1 / `factor` of the height and width, rounded up.

    Args:
      example: of any size.
      factor: from 1.

    Returns:
      Pixels are the means of those that they stand for; labels are the nearest pixel's, so that
      none is invented.
    """
    if factor == 1:
        return example
    height, width = (-(-side // factor) for side in example.label.shape)
    image = Image.fromarray(example.image).resize((width, height), Image.Resampling.BOX)
    label = Image.fromarray(example.label).resize((width, height), Image.Resampling.NEAREST)
    return example._replace(image=np.asarray(image), label=np.asarray(label))
