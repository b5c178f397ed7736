"""Reading, computing and writing at the same time: what waits for a disk does not keep a device.

Only the caller's thread computes. Threads read before it and write after it: decoding, compressing,
checksums and disks all release the interpreter's lock. JAX stays in one thread, since two programs
at once, each divided over the devices, may wait for each other for ever
(`reseg_jax.inference.ensemble`).
"""

import collections
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from reseg_jax.devices import cores

LIMIT = 1 << 28
"""Bytes of what is read ahead or waits to be written, by default: 256 MiB, our choice."""

_MOST_THREADS = 8  # more do not write faster to one disk: our choice

Item = TypeVar("Item")
Value = TypeVar("Value")
Result = TypeVar("Result")
Written = TypeVar("Written")


def threads() -> int:
    """How many threads read, and as many write: one per core that this process may use."""
    return min(_MOST_THREADS, cores())


def ahead(function: Callable[[Item], Value], items: Iterable[Item]) -> Iterator[Value]:
    """`function` of every item, in order, begun in threads before its turn comes.

    Args:
      function: called in several threads at a time.
      items: taken in the caller's thread, a few more than were asked for.

    Yields:
      What `function` returns.

    Raises:
      Exception: what `function` raises, in its turn.
    """
    yield from overlapped(items, function, iter, lambda value: value)


def overlapped(
    items: Iterable[Item],
    read: Callable[[Item], Value],
    compute: Callable[[Iterator[Value]], Iterable[Result]],
    write: Callable[[Result], Written],
    size: Callable[[Item], int] = lambda item: 0,
    limit: float = LIMIT,
) -> Iterator[Written]:
    """`write` of what `compute` makes of what `read` gives for every item, all three at once.

    Args:
      items: in their order. They are taken in the caller's thread.
      read: called in threads, some items before `compute` asks for them.
      compute: takes the values in order and gives one result for each, in order; it may look at
        several values first. It runs in the caller's thread.
      write: called in threads.
      size: the bytes that an item takes from its reading until it is written.
      limit: an item is begun only while all begun and unfinished ones have fewer bytes with it.
        One that is larger is begun when nothing else can be waited for.

    Yields:
      What `write` returns, in order.

    Raises:
      Exception: the first error of any stage, in the items' order; later items may be written then.
    """
    work = _Work(iter(items), read, size, limit)
    try:
        for result in compute(work.values()):
            work.write(write, result)
            yield from work.written(wait=False)
        yield from work.written(wait=True)
    finally:
        work.stop()


class _Work:
    """Items under way, oldest first: those that are read, computed and written."""

    def __init__(self, items, read, size, limit):
        self.items, self.read, self.size, self.limit = items, read, size, limit
        self.count = threads()
        self.readers, self.writers = (ThreadPoolExecutor(self.count) for _ in range(2))
        self.reading: collections.deque[Future] = collections.deque()
        self.writing: collections.deque[Future] = collections.deque()
        self.bytes = collections.deque()  # of all under way
        self.next = None  # an item that waits for room, and its bytes

    def values(self):
        while True:
            while self._begin():
                pass
            if not self.reading:
                return
            yield self.reading.popleft().result()

    def write(self, function, result):
        self.writing.append(self.writers.submit(function, result))

    def written(self, wait):
        # A disk that is slower than the device keeps it: a queue of small things has a bound, too.
        while self.writing and (
            wait or self.writing[0].done() or len(self.writing) > 4 * self.count
        ):
            yield self.writing.popleft().result()
            self.bytes.popleft()

    def stop(self):
        for pool in (self.readers, self.writers):
            pool.shutdown(wait=True, cancel_futures=True)

    def _begin(self):
        """Whether one more item is being read."""
        if len(self.reading) > self.count:
            return False
        if self.next is None:
            item = next(self.items, self)
            if item is self:  # there are no more
                return False
            self.next = item, self.size(item)
        item, size = self.next
        while self._under_way() + size > self.limit:
            if self.reading:
                return False  # for now
            if not (unfinished := [each for each in self.writing if not each.done()]):
                break  # the one that computes asks for more than has room
            unfinished[0].exception()  # waits
        self.bytes.append(size)
        self.reading.append(self.readers.submit(self.read, item))
        self.next = None
        return True

    def _under_way(self):
        """Bytes of what is begun and not yet written."""
        done = sum(
            size for size, each in zip(self.bytes, self.writing, strict=False) if each.done()
        )
        return sum(self.bytes) - done
