"""The runner: exactly-once work over folds, and its replay."""
