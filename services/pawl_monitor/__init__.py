"""The monitor: every interaction in DuckDB, sessions, evidence, drift, data-set snapshots, and the console."""
