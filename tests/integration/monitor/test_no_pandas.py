"""pandas stays out of the monitor's process, and what would have imported it works without."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import sys
from uuid import uuid4
from pawl_monitor import no_pandas
no_pandas.leave_out()
import duckdb
import pyarrow as pa
wanted, identity = pa.table({"n": [1, 2]}), uuid4()
connection = duckdb.connect()
assert connection.execute("SELECT ?, sum(n) FROM wanted", [identity]).fetchall() == [(identity, 3)]
assert list(connection.execute("SELECT n FROM wanted").fetchnumpy()["n"]) == [1, 2]
print("pandas" in sys.modules)
"""


def test_pyarrow_and_duckdb_work_without_it() -> None:
    ended = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "False\n", "")
