"""Pickles are read as data: nothing is called, and none takes longer or more than its length."""

import contextlib
import io
import pickle
import time
import tracemalloc

import pytest

from reseg_jax.errors import UserError
from reseg_jax.files import pickles

VALUES = (
    *(None, True, False, 0, 255, 70_000, -1, 1 << 80, 0.5, "", "text", "Straße" * 99, b"bytes"),
    *((), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), [], [1, [2]], {}, {"a": {"b": [(1,)]}, 2: 3}),
)


def load(content, known=None):
    return pickles.load(io.BytesIO(content), "weights.pth", known or {})


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("value", VALUES, ids=str)
def test_data_come_back(protocol, value):
    if protocol < 3 and isinstance(value, bytes):
        pytest.skip("pickled as a call")
    assert load(pickle.dumps(value, protocol)) == value


def test_what_is_shared_stays_shared():
    inner = [1]
    found = load(pickle.dumps([inner, inner, (inner,)]))
    assert found[0] is found[1] is found[2][0]


def test_the_file_is_left_at_the_end_of_the_pickle():
    file = io.BytesIO(pickle.dumps(1) + pickle.dumps("two") + b"rest")
    assert [pickles.load(file, "a", {}) for _ in range(2)] == [1, "two"]
    assert file.read() == b"rest"


def stand_in(*arguments):
    """Has attributes that a pickle might like to change."""
    return list(arguments)


def test_attributes_of_a_stand_in_cannot_be_changed():
    """BUILD set __defaults__ of this project's own functions."""
    known = {("torch", "f"): stand_in}
    evil = b"\x80\x02ctorch\nf\n}U\x0c__defaults__U\x01F\x85sb."
    assert load(evil, known) is stand_in
    assert stand_in.__defaults__ is None


LAUGHS = b"\x80\x02]q\x00" + b"".join(
    b"](h%ch%ceq%c" % (n, n, n + 1)
    for n in range(60)  # list n + 1 is [list n, list n]
)


@pytest.mark.parametrize(
    "content",
    [
        LAUGHS + b".",
        LAUGHS.replace(b"]", b")").replace(b"e", b"\x86") + b".",
        b"\x80\x02Nr\x00\x00\x00\x10.",  # a memo of 2^28 places
        b"\x80\x04\x96" + (1 << 33).to_bytes(8, "little") + b".",  # a byte array of 8 GB
        b"\x80\x04\x8d" + (1 << 40).to_bytes(8, "little") + b"text.",
        b"\x80\x02" + b"(" * 5_000 + b"t" * 5_000 + b".",
        b"\x80\x02" + b"N" * 5_000 + b"(t(t" * 5_000 + b".",
        b"}" + b"".join(b"\x8a\x08" + (n * ((1 << 61) - 1)).to_bytes(8, "little") + b"Ns"
                        for n in range(3)) + b".",
    ],
    ids=["lists", "tuples", "memo", "bytearray", "text", "deep", "stack", "equal hashes"],
)  # fmt: skip
def test_a_small_pickle_takes_little(content):
    began = time.monotonic()
    tracemalloc.start()
    with contextlib.suppress(ValueError, LookupError, TypeError):
        load(content)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 256 << 20
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    "content",
    [
        *(b".", b"\x80\x02.", b"\x80\x02\x86.", b"\x80\x02N\x86.", b"\x80\x02(", b"\x80\x02h\x05."),
        *(b"\x80\x02Na.", b"\x80\x02NNs.", b"\x80\x02}(Nu.", b"\x80\x02NNR.", b"\x80\x02K\x01)R."),
        *(b"\x80\x02K\x01Q.", b"\x80\x02U\x01a)\x81.", b"\xff", b""),
    ],
)
def test_what_is_no_pickle_of_tensors_is_an_error(content):
    with pytest.raises((ValueError, LookupError, TypeError)):
        load(content)


def test_only_known_names_are_taken():
    assert load(b"\x80\x02ctorch\nf\nK\x01\x85R.", {("torch", "f"): stand_in}) == [1]
    with pytest.raises(UserError, match=r"weights\.pth asks for torch\.g.*refused"):
        load(b"\x80\x02ctorch\ng\n.", {("torch", "f"): stand_in})
