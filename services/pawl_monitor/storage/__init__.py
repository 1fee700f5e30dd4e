"""The DuckDB database: rows, questions to it, and what keeps it small and safe."""
