"""Adapter slots: arrays that the graph reads, who is live in them, and who still holds them."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pawl_inference.engine.port import NoFreeSlotError, UnknownVersionError
from pawl_shared import slot_format
from pawl_shared.graph_spec import GraphSpec
from pawl_shared.tensor_file import Tensors

# ONNX Runtime's matrix product (MLAS) sums this many rows at a time, then adds up the sums.
_SUMMED_AT_ONCE = 128


def stride(blocks: int, rank: int) -> int:
    """Rows from one slot to the next, so that each is summed alike wherever it lies among others.

    A slot of 48 rows (three fused layers at rank 16) in the third place would reach over row 128, and be summed in two
    parts: one unit in the last place, which flips the rounding of int8 activations, and now and then a token.
    """
    rows = blocks * rank
    if rows > _SUMMED_AT_ONCE:
        return -(-rows // _SUMMED_AT_ONCE) * _SUMMED_AT_ONCE
    return 1 << (rows - 1).bit_length()


class SlotPool:
    """Fixed memory for `count` adapters. A slot is written only while no request can read it.

    With more versions than slots, the one that was asked for the longest ago makes room; one that a request holds never
    does. What a slot holds stays in it until then, so that a version that comes back is there at once.
    The base needs no slot: its rows have an all-zero mask.
    """

    def __init__(self, spec: GraphSpec, graph: str, count: int) -> None:
        self.spec, self.graph, self.count = spec, graph, count
        self._arrays: dict[str, NDArray[Any]] = {}
        for site in spec.sites:
            rows = count * stride(site.blocks, spec.rank)
            self._arrays[site.a] = np.zeros((rows, site.inputs), spec.element)
            self._arrays[site.b] = np.zeros((rows, sum(site.outputs)), spec.element)
        self._live: dict[str, int] = {}
        self._holders = [0] * count
        self._filling: set[int] = set()
        self._content: dict[int, str] = {}
        self._asked: dict[int, int] = {}  # by slot: when it was last asked for, counted in requests
        self._requests = 0
        self._lock = threading.Lock()

    def address(self, name: str, first: int, last: int) -> tuple[int, list[int]]:
        """Address and shape of the part of a site's array that belongs to slots first..last (contiguous, no copy)."""
        view = self._view(name, first, last)
        return int(view.ctypes.data), list(view.shape)

    def revive(self, version: str) -> bool:
        """Make a version live again whose slot was not filled with another since; False: it has to be loaded."""
        with self._lock:
            slots = [slot for slot, content in self._content.items() if content == version]
            if slots:
                self._show(version, slots[0])
        return bool(slots)

    def load(self, version: str, slot_file: Path) -> int:
        """Check a slot file and copy it into a free slot, which nobody sees until `activate`.

        Raises:
            AdapterInvalidError, NoFreeSlotError: nothing has changed.
        """
        with self._lock:
            self._room()  # before megabytes are read
        arrays = slot_format.read_slots(slot_file, self.spec, graph=self.graph, adapter=version).arrays
        slot = self._reserve()
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
        self._touch(slot)

    def _touch(self, slot: int) -> None:
        self._requests += 1
        self._asked[slot] = self._requests

    def _fill(self, slot: int, arrays: Tensors) -> None:
        for name, array in arrays.items():
            self._view(name, slot, slot)[: len(array)] = array

    def _view(self, name: str, first: int, last: int) -> NDArray[Any]:
        array = self._arrays[name]
        rows = array.shape[0] // self.count
        return array[first * rows : (last + 1) * rows]

    def _reserve(self) -> int:
        with self._lock:
            slot = self._room()
            self._live = {name: held for name, held in self._live.items() if held != slot}
            self._content.pop(slot, None)
            self._filling.add(slot)
            return slot

    def _room(self) -> int:
        """The slot to fill next."""
        if free := self._free():
            # A batch pays for every slot between its first and its last one, so live slots are kept close together.
            return free[0]
        live = self._live.values()
        idle = [slot for slot in live if self._holders[slot] == 0]
        draining = [slot for slot, holders in enumerate(self._holders) if holders and slot not in live]
        if draining or not idle:  # what drains is free in a moment; what is live may be asked for in this one
            raise NoFreeSlotError(
                f"each of the {self.count} adapter slots has answers to finish; it is tried again. "
                "With PAWL_ENGINE_SLOTS there are more"
            )
        return min(idle, key=lambda slot: self._asked[slot])

    def _free(self) -> list[int]:
        taken = set(self._live.values()) | self._filling
        return [slot for slot in range(self.count) if slot not in taken and self._holders[slot] == 0]
