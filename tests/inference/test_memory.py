"""What does not fit is refused before it is computed, and strips are parts of the whole."""

import math
import pathlib
import resource
import types

import jax
import numpy as np
import pytest

from reseg_jax import api
from reseg_jax.errors import UserError
from reseg_jax.inference import ensemble, memory, predict
from reseg_jax.inference import views as inference_views
from reseg_jax.inference.ensemble import Views, probabilities
from tests.support import tiny

IMAGE = np.random.default_rng(0).integers(0, 256, (24, 36, 3), np.uint8)
GIB = 1 << 30


@pytest.fixture(scope="module")
def variables():
    return jax.tree.map(lambda leaf: 3 * leaf, api.init(tiny.CONFIG, jax.random.key(0)))


def free(monkeypatch, count):
    monkeypatch.setattr(memory, "free_memory", lambda: count)


@pytest.mark.parametrize("scales", [(1.0,), (0.5,), (1.5, 1.0)])
def test_strips_are_the_rows_of_the_whole(variables, monkeypatch, scales):
    """Of 5 rows each, the last one of 4."""
    views = Views(flip=True, scales=scales)
    whole = probabilities(tiny.CONFIG, [variables], IMAGE, views)
    monkeypatch.setattr(inference_views, "_STRIP", 5 * whole.shape[1] * whole.shape[2])
    parts = list(ensemble.strips(tiny.CONFIG, [variables], IMAGE[None], views))
    assert [part.shape[1] for part in parts] == [5, 5, 5, 5, 4]
    found = probabilities(tiny.CONFIG, [variables], IMAGE, views)
    np.testing.assert_array_equal(np.concatenate(parts, 1)[0], found)
    np.testing.assert_allclose(found, whole, atol=1e-5)
    assert whole.std() > 0.01  # else any row would do


def test_what_does_not_fit_is_refused_with_the_scale_that_does(variables, monkeypatch):
    free(monkeypatch, memory.PICTURE * math.prod(IMAGE.shape[:2]) + 60_000)
    with pytest.raises(memory.DoesNotFit, match=r"36x24 pixels need .*--scales=0\.\d+ fits"):
        predict.predict(tiny.CONFIG, variables, IMAGE)
    with pytest.raises(memory.DoesNotFit) as caught:
        probabilities(tiny.CONFIG, [variables], IMAGE, Views(scales=(2.0, 0.5)))
    assert "at scale 2 need" in str(caught.value)
    fits = float(str(caught.value).partition("--scales=")[2].split()[0])
    assert 0 < fits < 1
    assert probabilities(tiny.CONFIG, [variables], IMAGE, Views(scales=(fits,))).shape[:2] == (
        24,
        36,
    )


@pytest.mark.parametrize(
    ("gigabytes", "ways"),
    [
        (2.0, "give tiles, --tile=512 fits, or a smaller scale, --scales=0.3 fits"),
        (0.5, "give tiles, --tile=320 fits, or a smaller scale, --scales=0.1 fits"),
        (0.29, "give a smaller scale, --scales=0.01 fits"),
        (0.28, "make the image smaller"),
    ],
)
def test_tiles_that_fit_are_named(monkeypatch, gigabytes, ways):
    """12 megapixels need 12 GB and 0.288 for their picture: a square of side 3464 shrinks by
    0.8 sqrt(rest / 12 GB), which is 0.302, 0.106 and 0.0103; tiles are multiples of 64."""
    plan = types.SimpleNamespace(output_size_in_bytes=0, temp_size_in_bytes=8e9)
    program = types.SimpleNamespace(memory_analysis=lambda: plan)
    free(monkeypatch, gigabytes * 1e9)
    with pytest.raises(memory.DoesNotFit) as caught:
        memory.check_fits((1, 3000, 4000), 1.0, lambda: [program])
    assert f"4000x3000 pixels need about 12.3 GB of memory and {gigabytes:.1f} GB are free" in str(
        caught.value
    )
    assert ways in str(caught.value)


def test_if_the_picture_itself_does_not_fit_no_scale_does(variables, monkeypatch):
    free(monkeypatch, 1000)
    with pytest.raises(UserError, match=r"36x24 pixels need .*make the image smaller"):
        predict.predict(tiny.CONFIG, variables, IMAGE)


def test_small_images_are_not_compiled_to_find_out(monkeypatch):
    free(monkeypatch, GIB)
    memory.check_fits((1, 360, 480 // 2), 1.0, lambda: pytest.fail("compiled"))


@pytest.mark.parametrize("shape", [(1, 24, 36, 3), (2, 40, 24, 3)])
def test_what_is_planned_grows_with_the_image(variables, shape):
    def planned(shape):
        images = jax.ShapeDtypeStruct(shape, np.uint8)
        return memory._planned(
            [predict._labels.lower(tiny.CONFIG, variables, images, None).compile()]
        )

    larger = (shape[0], 2 * shape[1], 2 * shape[2], 3)
    assert 3 < planned(larger) / planned(shape) < 5
    assert planned(shape) > 4 * math.prod(shape[:3]) * tiny.CONFIG.outputs


def test_the_limit_of_the_process_counts(monkeypatch):
    used = int(pathlib.Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    monkeypatch.setattr(resource, "getrlimit", lambda _: (used + GIB, used + GIB))
    assert GIB / 2 < memory.free_memory() <= 1.5 * GIB


def test_the_limit_of_a_container_counts(tmp_path, monkeypatch):
    """Files that are in memory and may be dropped are free."""
    for name, text in (
        ("memory.max", "3000"),
        ("memory.current", "2500"),
        ("memory.stat", "anon 1500\ninactive_file 1000\n"),
    ):
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(memory, "_GROUP", tmp_path)
    assert memory.free_memory() == 1500
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.free_memory() > 1500
