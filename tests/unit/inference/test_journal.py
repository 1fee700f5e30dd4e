import errno
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pawl_inference.record.journal import Journal, JournalFullError
from pawl_shared.errors import ConfigurationError

BIG = 1 << 30


def open_journal(folder: Path, **options: int) -> Journal:
    return Journal(folder / "journal", **{"max_bytes": BIG, **options})


def contents(journal: Journal) -> list[bytes]:
    found: list[bytes] = []
    number = journal.acknowledged
    while batch := journal.read(7, number):
        found += [payload for _, payload in batch]
        number = batch[-1][0] + 1
    return found


def segments(folder: Path) -> list[Path]:
    return sorted((folder / "journal").glob("*.journal"))


def test_records_come_back_in_order_and_survive_a_restart(tmp_path: Path) -> None:
    written = [f"record {number}".encode() for number in range(100)]
    journal = open_journal(tmp_path, segment_bytes=200)
    assert [journal.append(payload) for payload in written] == list(range(100))
    assert contents(journal) == written
    journal.close()
    again = open_journal(tmp_path, segment_bytes=200)
    assert contents(again) == written
    assert again.append(b"next") == 100
    again.close()


def test_acknowledged_records_are_not_read_again_and_their_segments_go(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, segment_bytes=200)
    for number in range(100):
        journal.append(f"record {number}".encode())
    before = len(segments(tmp_path))
    journal.acknowledge(60)
    assert journal.backlog == 40
    assert len(segments(tmp_path)) < before
    journal.close()
    again = open_journal(tmp_path, segment_bytes=200)
    assert contents(again)[0] == b"record 60"
    again.acknowledge(100)
    assert contents(again) == []
    assert again.append(b"next") == 100
    assert contents(again) == [b"next"]
    with pytest.raises(ValueError, match="between 100 and 101"):
        again.acknowledge(102)
    again.close()


@pytest.mark.parametrize("torn", [1, 7, 8, 9, 15])
def test_a_torn_end_is_cut_off_and_everything_before_it_stays(tmp_path: Path, torn: int) -> None:
    journal = open_journal(tmp_path)
    for payload in (b"first", b"second"):
        journal.append(payload)
    journal.append(b"the third")
    journal.close()
    (path,) = segments(tmp_path)
    os.truncate(path, path.stat().st_size - torn)
    again = open_journal(tmp_path)
    assert again.damaged == 1
    assert again.append(b"new third") == 2
    assert contents(again) == [b"first", b"second", b"new third"]
    again.close()
    whole = open_journal(tmp_path)
    assert whole.damaged == 0
    assert contents(whole) == [b"first", b"second", b"new third"]
    whole.close()


@settings(max_examples=50)
@given(position=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_a_flipped_bit_never_gives_a_wrong_record(
    tmp_path_factory: pytest.TempPathFactory, position: int, bit: int
) -> None:
    folder = tmp_path_factory.mktemp("flip")
    written = [f"record {number}".encode() for number in range(30)]
    journal = open_journal(folder, segment_bytes=100)
    for payload in written:
        journal.append(payload)
    journal.close()
    paths = segments(folder)
    path = paths[position % len(paths)]
    data = bytearray(path.read_bytes())
    data[position % len(data)] ^= 1 << bit
    path.write_bytes(data)
    again = open_journal(folder, segment_bytes=100)
    read = contents(again)
    again.close()
    assert len(read) >= 20
    assert read == [payload for payload in written if payload in read]


def test_a_lost_position_sends_everything_again(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    journal.append(b"one")
    journal.acknowledge(1)
    journal.append(b"two")
    journal.close()
    (tmp_path / "journal" / "acknowledged").write_text("")
    again = open_journal(tmp_path)
    assert contents(again) == [b"one", b"two"]
    again.close()


def test_full_refuses_new_requests_but_not_what_was_begun(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, max_bytes=100, segment_bytes=50)
    while not journal.full:
        journal.append(b"x" * 20)
    journal.append(b"an answer that was begun before")
    journal.acknowledge(journal.end)
    assert not journal.full
    journal.close()


def test_a_full_disk_leaves_no_half_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = open_journal(tmp_path)
    journal.append(b"before")
    whole_write = os.write
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", lambda file, data: whole_write(file, data[:10]))
        with pytest.raises(JournalFullError, match="no space left"):
            journal.append(b"does not fit")

        def refuse(file: int, data: bytes) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

        patched.setattr(os, "write", refuse)
        with pytest.raises(JournalFullError, match="No space left"):
            journal.append(b"does not fit either")
    journal.append(b"after")
    assert contents(journal) == [b"before", b"after"]
    journal.close()
    again = open_journal(tmp_path)
    assert (again.damaged, contents(again)) == (0, [b"before", b"after"])
    again.close()


def test_two_processes_cannot_share_a_journal(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    with pytest.raises(ConfigurationError, match="another process"):
        open_journal(tmp_path)
    journal.close()
    open_journal(tmp_path).close()
