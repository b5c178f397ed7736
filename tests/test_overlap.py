"""Stages at the same time: in order, within a limit of bytes, and errors in their turn."""

import threading
import time

import pytest

from reseg_jax import overlap
from reseg_jax.errors import UserError


@pytest.fixture(autouse=True)
def two_threads(monkeypatch):
    """Whatever machine this is."""
    monkeypatch.setattr(overlap, "threads", lambda: 2)


def doubled(values):
    for value in values:
        yield 2 * value


def test_results_keep_their_order_whatever_takes_long():
    def slow_if_even(number):
        time.sleep(0.003 * (number % 2 == 0))
        return number

    found = overlap.overlapped(range(9), slow_if_even, doubled, lambda n: slow_if_even(n // 2))
    assert list(found) == list(range(9))
    assert list(overlap.ahead(slow_if_even, range(9))) == list(range(9))
    assert list(overlap.ahead(slow_if_even, [])) == []


def test_all_three_stages_work_at_the_same_time():
    """Item 1 is read while item 0 is computed, whose writing ends only after item 1's computing."""
    reading, computed = threading.Event(), threading.Event()

    def read(number):
        if number == 1:
            reading.set()
        return number

    def compute(numbers):
        for number in numbers:
            if number == 0:
                assert reading.wait(10)
            yield number
        computed.set()

    def write(number):
        assert number or computed.wait(10)
        return number

    assert list(overlap.overlapped([0, 1], read, compute, write)) == [0, 1]


def test_only_the_caller_computes():
    used = set()

    def compute(values):
        for value in values:
            used.add(threading.get_ident())
            yield value

    list(overlap.overlapped(range(5), lambda n: n, compute, lambda n: n))
    assert used == {threading.get_ident()}


@pytest.mark.parametrize(("size", "at_once"), [(3, 3), (11, 1), (4, 2)])
def test_items_under_way_fit_the_limit_or_are_only_one(size, at_once):
    """Of 10 bytes: three of 3, two of 4, and one that is larger."""
    lock, under_way, most = threading.Lock(), 0, 0

    def read(number):
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        return number

    def write(number):
        nonlocal under_way
        time.sleep(0.002)
        with lock:
            under_way -= 1
        return number

    found = overlap.overlapped(range(12), read, iter, write, lambda _: size, limit=10)
    assert list(found) == list(range(12))
    assert 1 <= most <= at_once


def test_one_that_asks_for_more_than_has_room_gets_it():
    def pairs(values):
        for first in values:
            yield from (first, next(values))

    found = overlap.overlapped(range(6), lambda n: n, pairs, lambda n: n, lambda _: 7, limit=10)
    assert list(found) == list(range(6))


@pytest.mark.parametrize("stage", ["read", "compute", "write"])
def test_an_error_comes_in_its_turn_and_ends_it(stage):
    def fails(where):
        def function(number):
            if where == stage and number == 3:
                raise UserError("three")
            return number

        return function

    found = []
    with pytest.raises(UserError, match="three"):
        for number in overlap.overlapped(
            range(100), fails("read"), lambda values: map(fails("compute"), values), fails("write")
        ):
            found.append(number)
    assert found == [0, 1, 2][: len(found)]
    assert stage != "write" or found == [0, 1, 2]


def test_a_consumer_that_stops_ends_the_threads():
    before, begun = threading.active_count(), []
    found = overlap.overlapped(range(1000), begun.append, lambda v: v, lambda v: v)
    next(found)
    found.close()
    assert threading.active_count() == before
    assert len(begun) < 100
