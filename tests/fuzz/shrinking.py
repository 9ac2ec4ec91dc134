"""Makes a finding small: what can be left out or be zero without another error is."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator

TRIES_MAX = 5000


def shrink(run: Callable[[bytes], None], data: bytes) -> bytes:
    """The smallest input found that fails in the same place; ``data`` itself where it does not fail."""
    wanted = _failure(run, data)
    if wanted is None:
        return data
    left = TRIES_MAX
    is_smaller = True
    while is_smaller and left > 0:
        is_smaller = False
        for smaller in _smaller(data):
            left -= 1
            if left <= 0:
                break
            if _failure(run, smaller) == wanted:
                data, is_smaller = smaller, True
                break
    return data


def _failure(run: Callable[[bytes], None], data: bytes) -> tuple[type[BaseException], str, int] | None:
    """What is raised, and where."""
    try:
        run(data)
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        return type(error), last.filename, last.lineno or 0
    return None


def _smaller(data: bytes) -> Iterator[bytes]:
    """Without a piece, the large ones first; then with a byte that is zero."""
    size = len(data)
    while size:
        for at in range(0, len(data), size):
            yield data[:at] + data[at + size :]
        size //= 2
    for at, byte in enumerate(data):
        if byte:
            yield data[:at] + b"\0" + data[at + 1 :]
