"""All of Pawl in one thread: real folds and runners on memory adapters, virtual time, faults by a seed."""
