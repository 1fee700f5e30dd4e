"""Adapter slots: arrays that the graph reads, who is live in them, and who still holds them."""

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pawl_inference.engine.places import Places
from pawl_inference.engine.port import NoFreeSlotError, UnknownVersionError
from pawl_shared.models import slot_format, slot_layout
from pawl_shared.models.graph_spec import GraphSpec
from pawl_shared.models.tensor_file import Tensors

# So long after it was asked for last, a slot is kept for the version for which another one was hidden. Whoever waits
# for one looks every 20 ms, a deployment with pauses of a quarter of a second.
KEPT_SECONDS = 1.0


class SlotPool:
    """Fixed memory for `count` adapters. A slot is written only while no request can read it.

    With more versions than slots, the one that was asked for the longest ago makes room; one that a request holds never
    does. What a slot holds stays in it until then, so that a version that comes back is there at once.
    The base needs no slot: its rows choose none.
    """

    def __init__(self, spec: GraphSpec, graph: str, count: int) -> None:
        self.spec, self.graph, self.count = spec, graph, count
        self._shapes = slot_layout.slot_shapes(spec)
        self._arrays: dict[str, NDArray[Any]] = {
            name: np.zeros((count, *shape), spec.element) for name, shape in self._shapes.items()
        }
        self._places = Places(count)
        self._live: dict[str, int] = {}  # what was shown first comes first
        self._holders = [0] * count
        self._filling: set[int] = set()
        self._content: dict[int, str] = {}
        self._asked: dict[int, int] = {}  # by slot: when it was last asked for, counted in requests
        self._requests = 0
        self._kept: dict[str, tuple[int, float]] = {}  # by version that insisted: a slot, and until when
        self._lock = threading.Lock()

    def address(self, name: str, first: int, last: int) -> tuple[int, list[int]]:
        """Address and shape of the part of a site's array that belongs to places first..last (contiguous, no copy)."""
        shape = slot_layout.bound_shape(self.spec, self._shapes[name], last - first + 1)
        return int(self._arrays[name][first:].ctypes.data), shape

    def places(self, slots: Sequence[int | None]) -> list[int | None]:
        """Where slots lie, before a step on them (None: the base, which has none).

        Several slots may first be brought together, so only the thread that runs steps on several may ask for them,
        before each step.
        """
        with self._lock:
            if not self._filling:  # that slot is written, and read once, by another thread
                for pair in self._places.gather({slot for slot in slots if slot is not None}):
                    self._exchange(*pair)
            return [None if slot is None else self._places.of(slot) for slot in slots]

    def revive(self, version: str) -> bool:
        """Make a version live again whose slot was not filled with another since, and is not kept for another; False:
        it has to be loaded."""
        with self._lock:
            kept = self._kept_from(version)
            slots = [slot for slot, content in self._content.items() if content == version and slot not in kept]
            if slots:
                self._show(version, slots[0])
        return bool(slots)

    def load(self, version: str, slot_file: Path, *, insist: bool = False) -> int:
        """Check a slot file and copy it into a free slot, which nobody sees until `activate`.

        Raises:
            AdapterInvalidError: nothing has changed.
            NoFreeSlotError: nor here, but who insists makes one version drain where none does, and has its slot then.
        """
        with self._lock:
            self._room(version, insist)  # before megabytes are read
        arrays = slot_format.read_slots(slot_file, self.spec, graph=self.graph, adapter=version).arrays
        slot = self._reserve(version, insist)
        self._fill(slot, arrays)
        return slot

    def activate(self, version: str, slot: int) -> None:
        """The swap itself: from here on new requests find the version."""
        with self._lock:
            self._filling.discard(slot)
            self._content[slot] = version
            self._show(version, slot)

    def discard(self, slot: int) -> None:
        """Give back a slot that was loaded but never activated."""
        with self._lock:
            self._filling.discard(slot)

    def retire(self, version: str) -> None:
        """Hide a version from new requests; its slot is reused when its last holder has let go."""
        with self._lock:
            self._live = {name: slot for name, slot in self._live.items() if name != version}

    def hold(self, version: str) -> int | None:
        """Pin a version for a request and return its slot (None: the base).

        Raises:
            UnknownVersionError: neither the base nor live.
        """
        if version == self.spec.base:
            return None
        with self._lock:
            if version not in self._live:
                raise UnknownVersionError(f"version {version[:12]} is not served here")
            slot = self._live[version]
            self._holders[slot] += 1
            self._touch(slot)
            return slot

    def release(self, slot: int | None) -> None:
        """Let go of what `hold` returned."""
        if slot is not None:
            with self._lock:
                self._holders[slot] -= 1

    def live(self) -> frozenset[str]:
        """Published versions, the base not among them."""
        return frozenset(self._live)

    def used(self) -> int:
        """Slots that are live, draining or being filled."""
        with self._lock:
            return self.count - len(self._free())

    def _show(self, version: str, slot: int) -> None:
        self._live = {**self._live, version: slot}
        self._kept.pop(version, None)
        self._touch(slot)

    def _touch(self, slot: int) -> None:
        self._requests += 1
        self._asked[slot] = self._requests

    def _fill(self, slot: int, arrays: Tensors) -> None:
        place = self._places.of(slot)
        for name, array in slot_layout.arrange(self.spec, arrays).items():
            self._arrays[name][place] = array

    def _exchange(self, first: int, second: int) -> None:
        for array in self._arrays.values():
            array[[first, second]] = array[[second, first]]

    def _reserve(self, version: str, insist: bool) -> int:
        with self._lock:
            slot = self._room(version, insist)
            self._live = {name: held for name, held in self._live.items() if held != slot}
            self._content.pop(slot, None)
            self._filling.add(slot)
            return slot

    def _room(self, version: str, insist: bool) -> int:
        """The slot to fill next."""
        kept = self._kept_from(version)
        if free := [slot for slot in self._free() if slot not in kept]:
            # A batch pays for every slot between its first and its last one: close together they need no moving.
            return free[0]
        live = self._live.values()
        idle = [slot for slot in live if self._holders[slot] == 0]
        held = [slot for slot, holders in enumerate(self._holders) if holders]
        draining = [slot for slot in held if slot not in live and slot not in kept]
        # What drains is free in a moment, and what is live may be asked for in this one; but it may drain for long.
        if idle and (insist or not draining):
            return min(idle, key=lambda slot: self._asked[slot])
        if insist:
            self._drain(version, draining)
        raise NoFreeSlotError(
            f"each of the {self.count} adapter slots has answers to finish; it is tried again. "
            "With PAWL_ENGINE_SLOTS there are more"
        )

    def _drain(self, version: str, draining: Sequence[int]) -> None:
        """Hide what is live the longest, as under constant load nothing would ever be idle. Its slot is kept: else the
        next request for it would show it again."""
        slot = self._kept.get(version, (-1,))[0]
        if not draining and self._live:
            hidden, slot = next(iter(self._live.items()))
            self._live = {name: held for name, held in self._live.items() if name != hidden}
            draining = [slot]
        if slot in draining:
            self._kept[version] = slot, time.monotonic() + KEPT_SECONDS

    def _kept_from(self, version: str) -> set[int]:
        """Slots that are kept for others."""
        now = time.monotonic()
        return {slot for name, (slot, until) in self._kept.items() if name != version and now < until}

    def _free(self) -> list[int]:
        taken = set(self._live.values()) | self._filling
        return [slot for slot in range(self.count) if slot not in taken and self._holders[slot] == 0]
