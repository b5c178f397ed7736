"""`experiments.predict` and `export`: pictures of photos, and networks as files."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import data
import reseg_jax
from data.camvid import CLASSES
from reseg_jax.inference import sliding
from tests.support.typed import AVERAGED, refused

pytestmark = pytest.mark.slow


def test_predict_writes_every_picture_and_reports_a_bad_image(trained, run, home):
    frames = home / "CamVid"
    (home / "photos").mkdir()
    for path in (frames / "val").iterdir():
        (home / "photos" / path.name).write_bytes(path.read_bytes())
    whole = (frames / "val" / "frame0.png").read_bytes()
    (home / "photos" / "cut.png").write_bytes(whole[: len(whole) // 2])
    output = home / "predictions"
    finished = run(
        "predict",
        f"--workdir={trained[0]}",
        f"--input={home / 'photos'}",
        f"--output={output}",
        f"--labels={frames / 'valannot'}",
        "--uncertainty",
        *AVERAGED,
    )
    refused(finished, "1 of 3 images left out")
    assert "cut.png" in finished.stderr
    kinds = ("color", "labels", "overlay", "panels", "uncertainty")
    expected = [f"frame{i}_{kind}.png" for i in (0, 1) for kind in kinds]
    assert sorted(path.name for path in output.iterdir()) == expected
    labels = np.array(Image.open(output / "frame0_labels.png"))
    assert labels.shape == (20, 24)
    assert labels.max() < 11
    colors = np.array(Image.open(output / "frame0_color.png").convert("RGB"))
    np.testing.assert_array_equal(colors, np.array(CLASSES.palette)[labels])
    gray = np.array(Image.open(output / "frame0_uncertainty.png"))
    assert (gray.dtype, gray.shape) == (np.uint8, (20, 24))
    assert gray.min() > 127  # hardly trained, it is unsure everywhere


def test_predict_finds_photos_wherever_they_are_and_whatever_they_are_called(trained, run, home):
    """Nested, equal stems, brackets, capitals, a name that is not UTF-8; on an ASCII terminal."""
    frame = Image.open(home / "CamVid/val/frame0.png")
    photos = home / "more[1]"
    stream = io.BytesIO()
    frame.save(stream, "JPEG")
    names = (b"a/x.jpg", b"b/x.jpg", b"b/x.JPG", b"caf\xe9.jpg", "道路.jpg".encode())
    for name in names:
        path = Path(os.fsdecode(os.path.join(os.fsencode(photos), name)))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(stream.getvalue())
    command = ("predict", f"--workdir={trained[0]}", f"--output={photos / 'out'}")
    for pattern in ("", "/**/*.jpg"):
        finished = run(*command, f"--input={photos}{pattern}", encoding="ascii:strict")
        assert finished.returncode == 0, finished.stderr
        assert "5 of 5 images segmented" in finished.stdout
        assert "caf\\udce9.jpg" in finished.stdout
    written = {
        path.relative_to(photos / "out").as_posix().removesuffix("_labels.png")
        for path in (photos / "out").rglob("*_labels.png")
    }
    assert written == {"a/x", "b/x.jpg", "b/x.JPG", os.fsdecode(b"caf\xe9"), "道路"}


def pixels(folder):
    """{file: what is in it}."""
    return {path.name: np.array(Image.open(path)) for path in folder.iterdir()}


def test_many_photos_are_reported_in_order_and_batches_change_nothing(trained, run, home):
    """Twelve of two sizes and a broken one among them, one by one and three at a time."""
    photos = home / "many"
    photos.mkdir()
    rng = np.random.default_rng(0)
    for index in range(12):
        size = (20, 24) if index not in (4, 9) else (24, 20)
        image = rng.integers(0, 256, (*size, 3), np.uint8)
        Image.fromarray(image).save(photos / f"{index:02}.png")
    (photos / "07_cut.png").write_bytes((photos / "00.png").read_bytes()[:200])
    command = ("predict", f"--workdir={trained[0]}", f"--input={photos}", "--uncertainty")
    found = []
    for flag in ("--batch_size=1", "--batch_size=3"):
        output = home / f"many{flag}"
        finished = run(*command, f"--output={output}", flag)
        refused(finished, "1 of 13 images left out")
        lines = [line for line in finished.stdout.splitlines() if "x" in line.partition(": ")[2]]
        assert [Path(line.partition(":")[0]).stem for line in lines] == [
            f"{index:02}" for index in range(12)
        ]
        assert "07_cut.png" in finished.stderr
        assert "segmented 12 images, " in finished.stderr
        found.append((lines, pixels(output)))
    (lines, alone), (batched_lines, batched) = found
    assert lines == batched_lines
    assert list(alone) and sorted(alone) == sorted(batched)
    for name, picture in alone.items():  # rounding may tie what was not tied
        assert (picture == batched[name]).mean() > 0.99, name


def test_a_picture_that_cannot_be_written_is_one_sentence(trained, run, home):
    output = home / "taken"
    (output / "frame1_color.png").mkdir(parents=True)
    command = ("predict", f"--workdir={trained[0]}", f"--output={output}")
    finished = run(*command, f"--input={home / 'CamVid/val'}")
    refused(finished, "frame1_color.png", "there is a folder of that name")
    assert "frame0.png: 24x20" in finished.stdout
    assert "frame1.png: 24x20" not in finished.stdout


def test_large_photos_are_predicted_in_tiles(trained, run, home):
    """Larger than a tile, and smaller."""
    photos, output = home / "tiled", home / "tiles"
    photos.mkdir()
    images = {"large": (40, 50), "small": (12, 16)}
    for name, size in images.items():
        images[name] = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
        Image.fromarray(images[name]).save(photos / f"{name}.png")
    command = ("predict", f"--workdir={trained[0]}", f"--input={photos}", f"--output={output}")
    finished = run(*command, "--tile=16", "--overlap=8", "--uncertainty")
    assert finished.returncode == 0, finished.stderr

    def predict(tile):
        return reseg_jax.predict_probabilities(*reseg_jax.load(trained[0]), tile)

    for name, image in images.items():
        parts = list(sliding.strips(predict, image[None], tile=16, overlap=8))
        labels = np.concatenate(parts, axis=1)[0].argmax(axis=-1)
        assert (np.array(Image.open(output / f"{name}_labels.png")) == labels).mean() > 0.99
        assert Image.open(output / f"{name}_uncertainty.png").size == image.shape[1::-1]
    refused(run(*command, "--overlap=8"), "--overlap is of tiles", "--tile")
    refused(run(*command, "--tile=16", "--overlap=7"), "overlap=7", "multiple of 4")


@pytest.mark.slow
def test_a_saved_network_predicts_and_has_no_checkpoints(trained, run, home):
    config, variables = reseg_jax.load(trained[0])
    reseg_jax.save(home / "net.npz", config, variables)
    frame = home / "CamVid/val/frame0.png"
    command = ("predict", f"--model={home / 'net.npz'}", f"--input={frame}")
    finished = run(*command, f"--output={home / 'by_file'}")
    assert finished.returncode == 0, finished.stderr
    labels = np.array(Image.open(home / "by_file/frame0_labels.png"))
    expected = reseg_jax.predict(config, variables, np.array(Image.open(frame)))
    assert (labels == expected).mean() > 0.99  # all except ties: here it is one device
    refused(run(*command, f"--output={home / 'no'}", "--average=2"), "model", "average")


@pytest.mark.slow
def test_an_exported_head_is_the_run_with_adjusted_logits(trained, run, home):
    """Frequent classes lose by --logit_adjustment, and the rest of the network stays."""
    path = home / "exported.npz"
    command = ("export", f"--workdir={trained[0]}")
    finished = run(*command, f"--output={path}", "--logit_adjustment=0.5")
    assert finished.returncode == 0, finished.stderr
    config, exported = reseg_jax.load(path)
    assert config == reseg_jax.load(trained[0])[0]
    before, after = (v["params"]["classifier"] for v in (reseg_jax.load(trained[0])[1], exported))
    np.testing.assert_allclose(after["kernel"], before["kernel"], rtol=2**-10, atol=1e-7)
    labels = [example.label for example in data.load("camvid", "train", home)]
    shares = np.bincount(np.concatenate(labels, axis=None), minlength=256)[:11]
    seen = np.flatnonzero(shares)
    raised = (after["bias"] - before["bias"])[seen]
    expected = -0.5 * np.log(shares[seen] / shares.sum())
    np.testing.assert_allclose(raised, expected, rtol=2e-3, atol=2e-3)
    refused(run(*command, "--output=head.pkl"), "--output=head.pkl", ".npz")
