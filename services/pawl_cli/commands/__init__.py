"""One module per command of `pawl`."""
