"""Who comes next: apps take turns, within an app its users, within a user what came first.

Round-robin over shares (Nagle 1987, RFC 970): one app with a hundred requests delays another one's first by a single
turn. A share is a path, such as (app, user); what has no share of its own takes turns with all others under ().
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")
Share = Sequence[str]


class FairQueue(Generic[T]):
    """Holds up to `limit` items; of one named share at most half of them, so that there is a place for others."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._turns: OrderedDict[str, _Turns[T]] = OrderedDict()
        self._sizes: dict[str, int] = {}
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[T]:
        for turns in self._turns.values():
            yield from turns.items()

    def push(self, item: T, share: Share, extra: int = 0) -> bool:
        """Add an item at the end of its share. False: there is no place for it.

        Args:
            share: the path; its first part is whose share of the places is bounded.
            extra: places beyond the limit, for items that will not have to wait.
        """
        app = share[0] if share else ""
        places = self._limit if not app else -(-self._limit // 2)
        if len(self) >= self._limit + extra or self._sizes.get(app, 0) >= places + extra:
            return False
        self._turns.setdefault(app, _Turns()).push(item, share[1] if len(share) > 1 else "")
        self._sizes[app] = self._sizes.get(app, 0) + 1
        self._size += 1
        return True

    def pop(self) -> T:
        """The next item. Raises IndexError when there is none."""
        if not self._turns:
            raise IndexError("the queue is empty")
        app, turns = next(iter(self._turns.items()))
        item = turns.pop()
        self._turns.move_to_end(app)
        self._shrink(app, 1)
        return item

    def drop(self, unwanted: Callable[[T], bool]) -> list[T]:
        """Take out whatever is unwanted; the turns of the others stay as they are."""
        dropped: list[T] = []
        for app, turns in list(self._turns.items()):
            gone = turns.drop(unwanted)
            self._shrink(app, len(gone))
            dropped += gone
        return dropped

    def _shrink(self, app: str, count: int) -> None:
        self._size -= count
        self._sizes[app] -= count
        if not self._sizes[app]:
            del self._sizes[app], self._turns[app]


class _Turns(Generic[T]):
    """The users of one app."""

    def __init__(self) -> None:
        self._users: OrderedDict[str, list[T]] = OrderedDict()

    def items(self) -> Iterator[T]:
        for items in self._users.values():
            yield from items

    def push(self, item: T, user: str) -> None:
        self._users.setdefault(user, []).append(item)

    def pop(self) -> T:
        user, items = next(iter(self._users.items()))
        item = items.pop(0)
        self._users.move_to_end(user)
        if not items:
            del self._users[user]
        return item

    def drop(self, unwanted: Callable[[T], bool]) -> list[T]:
        dropped = []
        for user, items in list(self._users.items()):
            dropped += [item for item in items if unwanted(item)]
            items[:] = [item for item in items if not unwanted(item)]
            if not items:
                del self._users[user]
        return dropped
