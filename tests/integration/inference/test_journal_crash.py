import os
import signal
import subprocess
import sys
from pathlib import Path

from pawl_inference.record.journal import Journal

WRITER = """
import sys
from pathlib import Path
from pawl_inference.record.journal import Journal
journal = Journal(Path(sys.argv[1]), max_bytes=1 << 30, segment_bytes=20_000)
while True:
    number = journal.append(b"%d:" % journal.end + b"x" * 500)
    sys.stdout.write(f"{number}\\n")
    sys.stdout.flush()
"""


def test_what_was_appended_before_kill_9_is_all_there(tmp_path: Path) -> None:
    for kills in range(3):
        child = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path / "journal")],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert child.stdout is not None
        last = -1
        for _ in range(200 + 37 * kills):
            last = int(child.stdout.readline())
        os.kill(child.pid, signal.SIGKILL)
        # It went on until the signal: all that it said it had written counts.
        last = max([last, *(int(line) for line in child.stdout if line.endswith("\n"))])
        child.wait()
        child.stdout.close()
        journal = Journal(tmp_path / "journal", max_bytes=1 << 30, segment_bytes=20_000)
        found: list[bytes] = []
        while batch := journal.read(1000, len(found)):
            found += [payload for _, payload in batch]
        assert len(found) >= last + 1
        assert [payload.split(b":")[0] for payload in found] == [b"%d" % number for number in range(len(found))]
        journal.close()
