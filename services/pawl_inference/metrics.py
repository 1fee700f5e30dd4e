"""What the service counts beside the metrics that all services have, each declared once with a line of prose."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

ANSWERS = Counter(
    "pawl_inference_answers",
    "Answers that were given and journalled, by how they ended",
    ["model", "arm", "finish_reason"],
)
# Not by model: an app may tell of any name, and each label is kept for as long as the process lives.
EXTERNAL = Counter("pawl_inference_external_answers", "Answers of others that apps told of, by their way here", ["via"])
SPANS = Counter("pawl_inference_spans", "Spans that apps sent, by what was made of them", ["outcome"])
TOKENS = Counter("pawl_inference_answer_tokens", "Tokens that were generated", ["model"])
PREFIX_HITS = Counter("pawl_inference_prefix_hits", "Answers whose prompt began like an earlier one", ["model"])
PREFIX_TOKENS = Counter("pawl_inference_prefix_tokens", "Prompt tokens that were not computed again", ["model"])
FIRST_TOKEN_SECONDS = Histogram(
    "pawl_inference_first_token_seconds", "From a request to the first token of its answer", buckets=_SECONDS
)
ANSWER_SECONDS = Histogram("pawl_inference_answer_seconds", "From a request to the end of its answer", buckets=_SECONDS)
ERRORS = Counter(
    "pawl_inference_errors", "Requests that were refused or failed, by what the client was told", ["status", "code"]
)
FEEDBACK = Counter("pawl_inference_feedback", "Statements about answers that the broker has acknowledged", ["kind"])
FEEDBACK_WAITING = Gauge("pawl_inference_feedback_waiting", "Statements that wait for the broker's acknowledgement")
FORWARDED = Counter("pawl_inference_journal_forwarded", "Journal records that the broker has acknowledged")
BACKLOG = Gauge("pawl_inference_journal_backlog", "Journal records that wait for the broker")
JOURNAL_BYTES = Gauge("pawl_inference_journal_bytes", "Size of the journal on disk")
JOURNAL_DAMAGED = Gauge("pawl_inference_journal_damaged", "Journal segments that ended torn at the last start")
CUT_OFF = Gauge(
    "pawl_inference_deployments_cut_off_seconds",
    "For how long deployments could not be read, as no broker answers; what is served goes on being served",
)
RELOADS = Counter(
    "pawl_inference_version_reloads", "Versions that had made room for others and were loaded again for a request"
)
DEPLOYMENTS = Counter(
    "pawl_inference_deployments", "Deployment revisions that were tried here, by outcome", ["outcome"]
)
