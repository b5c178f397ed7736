"""JSON by hand or damaged: what it says, or one sentence that names the file."""

import json

import pytest

from reseg_jax.errors import UserError
from reseg_jax.files.json_files import read_json


def test_what_was_written_is_read(tmp_path):
    value = {"names": ["Straße", "道路", "\ud800"], "void": [0, {"a": None}]}
    (tmp_path / "a.json").write_text(json.dumps(value))
    assert read_json(tmp_path / "a.json") == value
    (tmp_path / "a.json").write_text('["道路"]', encoding="utf-8")
    assert read_json(tmp_path / "a.json") == ["道路"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b'{"a": ', "no JSON file"),
        ('{"a": "Straße"}'.encode("latin-1"), "not UTF-8"),
        (b"[" * 100_000, "nested too deeply"),
        (b"[" * 100 + b"]" * 100, "nested too deeply"),
        (b'{"a":' * 100 + b"1" + b"}" * 100, "nested too deeply"),
        (b"1" * 5000, "no JSON file"),  # more digits than Python makes a number of
    ],
)
def test_what_is_none_is_one_sentence(tmp_path, content, reason):
    path = tmp_path / "run.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=reason) as caught:
        read_json(path)
    assert str(caught.value).startswith(f"{path} is ")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400
