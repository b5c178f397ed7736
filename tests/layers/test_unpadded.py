"""The crop of a skip by hand; U-Net's margin and sizes are in `tests/networks/test_unet.py`."""

import jax.numpy as jnp
import numpy as np

from reseg_jax.layers.unpadded import center_crop


def test_center_crop_by_hand():
    """7 rows, 3 wanted: (7 - 3) / 2 = 2 are left out on either side; 4 columns, 2 wanted: 1."""
    rows, columns = np.mgrid[:7, :4]
    x = jnp.asarray(10 * rows + columns)[None, :, :, None]
    np.testing.assert_array_equal(
        center_crop(x, (3, 2))[0, :, :, 0], [[21, 22], [31, 32], [41, 42]]
    )
    np.testing.assert_array_equal(center_crop(x, (7, 4)), x)
