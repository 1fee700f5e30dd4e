"""How much of glibc's heap is in use, where the C library is glibc."""

import ctypes

import pytest

_LIBC = ctypes.CDLL(None)
glibc = pytest.mark.skipif(not hasattr(_LIBC, "mallinfo2"), reason="asks glibc how much of its heap is in use")


class _MallInfo(ctypes.Structure):
    """mallinfo(3)."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    ]


def in_use() -> int:
    """Bytes of the heap that are not free, those that were mapped by themselves among them."""
    _LIBC.mallinfo2.restype = _MallInfo
    found = _LIBC.mallinfo2()
    return int(found.uordblks) + int(found.hblkhd)
