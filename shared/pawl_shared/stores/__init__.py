"""Transactional stores for the runner: one port, three adapters, one contract suite."""
