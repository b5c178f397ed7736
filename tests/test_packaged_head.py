"""The head that comes with the package gives what it gave when it was packaged."""

import numpy as np

from tests.goldens.make_packaged_head import logits
from tests.support.goldens import GOLDENS


def test_the_packaged_head_gives_the_logits_that_it_always_gave(vgg_weights_path):
    """Within rounding: convolutions are computed in another way by now, and on other processors."""
    with np.load(GOLDENS / "packaged_head.npz") as golden:
        expected = golden["logits"]
    np.testing.assert_allclose(logits(vgg_weights_path), expected, rtol=1e-3, atol=1e-3)
