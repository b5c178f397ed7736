"""The head that comes with the package gives what it gave when it was packaged."""

import numpy as np

from tests.goldens.make_packaged_head import logits, made_on
from tests.support.goldens import GOLDENS


def test_the_packaged_head_gives_the_logits_that_it_always_gave(vgg_weights_path):
    """To the last bit where the golden was made: the suite's compiler settings, that processor."""
    with np.load(GOLDENS / "packaged_head.npz") as golden:
        expected, same_place = golden["logits"], str(golden["made_on"]) == made_on()
    found = logits(vgg_weights_path)
    if same_place:
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
