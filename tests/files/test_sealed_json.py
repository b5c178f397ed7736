"""Sealed JSON: any change of what it says is noticed, a change of how it is written is not."""

import json

import pytest

from reseg_jax.files import sealed_json

RECORD = {"miou": 0.1 + 0.2, "names": ("räd", "blau"), "none": None, "nested": {"b": 1, "a": [1.0]}}


def test_what_was_sealed_is_whole_however_it_is_written():
    sealed = sealed_json.seal(RECORD)
    for options in ({}, {"indent": 4}, {"sort_keys": True}, {"ensure_ascii": False}):
        assert sealed_json.is_whole(json.loads(json.dumps(sealed, **options)))
    assert sealed_json.seal(sealed) == sealed


def test_every_flipped_bit_is_noticed():
    """In the text: it is no JSON any more, or another record."""
    text = json.dumps(sealed_json.seal(RECORD)).encode()
    for index in range(8 * len(text)):
        flipped = bytearray(text)
        flipped[index // 8] ^= 1 << index % 8
        try:
            found = json.loads(bytes(flipped))
        except ValueError:
            continue
        assert found == json.loads(text) or not sealed_json.is_whole(found)


def test_without_a_checksum_nothing_is_whole():
    assert not sealed_json.is_whole({"a": 1})


@pytest.mark.parametrize("changed", [{"miou": 0.3}, {"none": 0}, {"more": 1}])
def test_a_changed_field_is_noticed(changed):
    assert not sealed_json.is_whole({**sealed_json.seal(RECORD), **changed})
