"""docs/nasty-input.md, from the lists that the tests run."""

from support import nasty_http, nasty_records

HEAD = """# Nasty input

What comes of input that is wrong, hostile, late or repeated. This page is written from the lists that
`tests/contract/test_nasty_input.py`
runs (`python tests/contract/write_nasty_input.py`), so it cannot say anything else than they do. After every
case the service is ready and
answers the next request, or handles the next record. `tests/e2e/test_stack.py` sends the same lists to a whole
Pawl that runs, by clients of
another make; of what would be handled, only what does not change the models that it serves.

## Requests

Errors have OpenAI's shape: `{"error": {"message", "type", "param", "code"}}`; the message says what to do. A
refused batch stores nothing.

| request | outcome | why |
|---|---|---|
"""
RECORDS = """
## Records

What a consumer cannot read or handle becomes a dead letter on `pawl.dead-letters`, with its reason and as much
of its bytes as is bounded;
everything behind it goes on. `pawl dead-letters list` counts them by reason, `show` prints one, and `retry`
publishes its record again, as
it was, with two headers that name the letter and the attempt. Whoever had handled the event knows its id, so a
retry doubles nothing; when
it fails again, the new letter names the old one. A letter keeps 1 KiB of the key, 64 KiB of the value and 32
headers, and says when that is
not all; a retry then takes the record from its topic, as long as that keeps it.

| record | on the way to | outcome | why |
|---|---|---|---|
"""


def document() -> str:
    """The whole page."""
    requests = [
        f"| {case.input} | {case.status}{f' `{case.code}`' if case.code not in ('', '*') else ''} | {case.why} |"
        for case in nasty_http.CASES
    ]
    records = [f"| {case.input} | {_consumers(case)} | {_outcome(case)} | {case.why} |" for case in nasty_records.CASES]
    return HEAD + "\n".join(requests) + "\n" + RECORDS + "\n".join(records) + "\n"


def _consumers(case: nasty_records.Case) -> str:
    return "every consumer" if case.consumers == nasty_records.CONSUMERS else ", ".join(case.consumers)


def _outcome(case: nasty_records.Case) -> str:
    return f"{case.outcome}: “{case.reason}”" if case.reason else case.outcome
