"""A run's folder: what run.json says, who may claim it, and its lock."""

import dataclasses
import json

import jax
import pytest

from reseg_jax.errors import UserError
from reseg_jax.training.workdir import About, about, claim, describe, is_locked, lock
from tests.support import tiny
from tests.support.runs import SETTINGS


def test_a_run_says_what_it_is_and_where_it_ran(tmp_path):
    run = About(tiny.CONFIG, SETTINGS, tiny.CLASSES)
    claim(tmp_path, run, "a-name")
    said = json.loads((tmp_path / "run.json").read_text())
    assert said["preset"] == "a-name"
    assert said["provenance"]["versions"]["jax"] == jax.__version__
    assert describe(tmp_path) == run


def test_the_record_of_an_older_version_is_read():
    """Config in one piece, classes inside it, settings under their former names."""
    classes = {"names": ["a", "b"], "palette": [[0, 0, 0], [9, 9, 9]], "void": 255}
    record = {
        "config": {"num_classes": 2, "vgg_layer": None, "unroll": True, "classes": classes},
        "settings": {"average": 0.9, "colour": 0.2, "versions": 3, "vgg_rate": 0.5},
    }
    config, settings, found = about(record)
    assert (config.backbone, config.execution.unroll) == (None, "all")
    assert (settings.ema_decay, settings.color, settings.num_augmented_copies) == (0.9, 0.2, 3)
    assert settings.backbone_rate == 0.5
    assert found.names == ("a", "b")


def test_a_workdir_of_another_run_says_what_differs(done):
    config = dataclasses.replace(tiny.CONFIG, cell="lstm")
    settings = dataclasses.replace(SETTINGS, seed=5, epochs=9)
    with pytest.raises(UserError) as error:
        claim(done, About(config, settings, tiny.CLASSES))
    assert "cell: 'lstm' here, 'gru' there" in str(error.value)
    assert "seed: 5 here, 0 there" in str(error.value)
    assert "epochs" not in str(error.value)  # a run may be made longer


def test_a_locked_folder_is_refused_and_let_go(tmp_path):
    folder = tmp_path / "new"
    with lock(folder):
        assert is_locked(folder)
        with pytest.raises(UserError, match=r"another training is at work in .*new"), lock(folder):
            pass
    assert not is_locked(folder)


def test_every_start_is_recorded(tmp_path, monkeypatch):
    run = About(tiny.CONFIG, SETTINGS, tiny.CLASSES)
    for commit in ("first", "second", "third"):
        monkeypatch.setattr("reseg_jax.training.provenance.commit", lambda commit=commit: commit)
        claim(tmp_path, run)
    said = json.loads((tmp_path / "run.json").read_text())["provenance"]
    assert said["commit"] == "third"
    assert [start["commit"] for start in said["earlier"]] == ["first", "second"]
    assert all(start["time"] and start["versions"] for start in (said, *said["earlier"]))


def test_a_start_follows_those_of_an_older_version(tmp_path):
    run = About(tiny.CONFIG, SETTINGS, tiny.CLASSES)
    claim(tmp_path, run)
    old = json.loads((tmp_path / "run.json").read_text())
    del old["checksum"], old["provenance"]["time"]
    (tmp_path / "run.json").write_text(json.dumps(old))
    assert describe(tmp_path) == run
    claim(tmp_path, run)
    found = json.loads((tmp_path / "run.json").read_text())["provenance"]
    assert found["earlier"] == [old["provenance"]]


def test_every_flipped_bit_of_run_json_is_noticed(tmp_path):
    run = About(tiny.CONFIG, SETTINGS, tiny.CLASSES)
    claim(tmp_path, run)
    path = tmp_path / "run.json"
    content = path.read_bytes()
    for index in range(0, 8 * len(content), 41):
        flipped = bytearray(content)
        flipped[index // 8] ^= 1 << index % 8
        path.write_bytes(flipped)
        try:
            assert describe(tmp_path) == run
        except UserError as error:
            assert str(path) in str(error)


@pytest.mark.parametrize(
    "content",
    [
        *(b"\xff{", b"[" * 100_000, b"[1]", b"null", b"{}"),
        *(b'{"config": {}, "settings": []}', b'{"config": 1, "settings": {}}'),
        b'{"config": {"network": 3}, "settings": {}}',
    ],
)
def test_no_content_of_run_json_is_a_traceback(tmp_path, content):
    (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(UserError, match=r"run\.json"):
        describe(tmp_path)


def test_a_changed_run_json_says_how_to_accept_it(tmp_path):
    path = tmp_path / "run.json"
    claim(tmp_path, About(tiny.CONFIG, SETTINGS, tiny.CLASSES))
    said = json.loads(path.read_text())
    said["classes"]["names"][0] = "port"
    path.write_text(json.dumps(said))
    with pytest.raises(UserError, match=r'run\.json was changed.*remove "checksum" from it'):
        describe(tmp_path)
    del said["checksum"]
    path.write_text(json.dumps(said))
    assert describe(tmp_path).classes.names == ("port", "right")
