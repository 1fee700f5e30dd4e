"""A record whose header has a name that is no text is read, and so is everything around it."""

import struct

import pytest
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c

from pawl_streams.header_names import LenientRecords


def batch(first: int, names: list[str], compression: int = 0) -> bytes:
    """Records with one header each; the name "??" becomes two bytes that are not UTF-8."""
    builder = DefaultRecordBatchBuilder(
        magic=2, compression_type=compression, is_transactional=False, producer_id=-1, producer_epoch=-1,
        base_sequence=-1, batch_size=1 << 20,
    )  # fmt: skip
    for number, name in enumerate(names):
        builder.append(number, 1_700_000_000_000, b"key", f"value {first + number}".encode(), [(name, b"content")])
    content = bytearray(builder.build()).replace(b"??", b"\xff\xfe")
    struct.pack_into(">q", content, 0, first)
    struct.pack_into(">I", content, 17, calc_crc32c(bytes(content[21:])))
    return bytes(content)


def test_the_client_itself_stops_at_such_a_record() -> None:
    """When it no longer does, header_names.py can go."""
    with pytest.raises(Exception, match=r"utf-8|UTF-8|Unicode"):
        list(DefaultRecordBatch(batch(0, ["good", "??"])))


def test_records_before_and_after_it_are_read_and_its_name_is_escaped() -> None:
    records = LenientRecords(batch(0, ["one"]) + batch(1, ["two", "??", "four"]) + batch(4, ["five"]))
    found = []
    while records.has_next():
        part = records.next_batch()
        assert part.validate_crc()
        found += [(record.offset, record.key, record.value, record.headers) for record in part]
    names = ["one", "two", r"\xff\xfe", "four", "five"]
    assert found == [
        (number, b"key", f"value {number}".encode(), [(name, b"content")]) for number, name in enumerate(names)
    ]
    assert records.next_batch() is None
