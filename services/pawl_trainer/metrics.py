"""Metrics of the trainer, beside those that every service has."""

from prometheus_client import Counter, Gauge, Histogram

RUNS = Counter("pawl_training_runs", "Training runs that ended, by recipe and outcome", ["recipe", "outcome"])
RUN_SECONDS = Histogram(
    "pawl_training_run_seconds",
    "Wall time of a run that trained an adapter",
    ["recipe"],
    buckets=(10, 30, 60, 120, 180, 300, 600, 1800, 3600, 7200),
)
FRACTION = Gauge("pawl_training_fraction", "How much of the current run is done, from 0 to 1; 0 without a run")
LOSS = Gauge("pawl_training_loss", "Loss at the last optimiser step of the current run")
WAITING = Gauge("pawl_training_runs_waiting", "Runs that waited when the current one began")
