"""The last lines of the console's first page."""

import re
from types import SimpleNamespace as Fake

import pytest

from pawl_monitor.console.pages import Pages


def foot(dead: int, retried: int) -> str:
    view = Fake(
        replicas=[],
        counts=Fake(dead_letters=dead, dead_letters_retried=retried),
        reference=Fake(references=1, delta_spent=0.01, guarantees={}),
        policy=None,
        model="default/assistant",
    )
    return re.sub(r"<[^>]+>", "", Pages()._environment.get_template("_foot.html").render(view=view))


@pytest.mark.parametrize(
    ("dead", "retried", "line"),
    [
        (0, 0, "No dead letters"),
        (1, 0, "1 dead letter"),
        (0, 2, "No dead letters, 2 retried"),
        (3, 1, "3 dead letters, 1 retried"),
    ],
)
def test_dead_letters_that_were_retried_are_told_apart(dead: int, retried: int, line: str) -> None:
    assert line in [each.strip() for each in foot(dead, retried).splitlines()]
