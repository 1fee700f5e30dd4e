"""Reviews: answers that people are asked to judge, how far they are, and what they say so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, computed_field

from pawl_monitor.domain.intervals import Estimate, estimate
from pawl_monitor.domain.review import TOLD
from pawl_monitor.views.alarms import Rate, rate_of

Fact = dict[str, Any]


class Review(BaseModel):
    """One review. `approval`: share of the judged answers that reviewers like, from TOLD of them on; `before`: users'
    approval before the change began, who may judge otherwise than reviewers."""

    review: str
    alarm: str
    model: str
    version: str
    time: datetime
    since: datetime
    sentence: str
    items: int
    population: int
    rated: int
    reviewed: int = 0
    approval: Rate | None = None
    before: Rate | None = None

    @property
    def progress(self) -> str:
        """`12 of 50 reviewed`."""
        return f"{self.reviewed} of {self.items} reviewed"

    @computed_field  # type: ignore[prop-decorator]
    @property
    def said(self) -> str:
        """What the reviews say so far."""
        if self.approval is None:
            return f"{self.progress}; from {TOLD} on their share of liked answers is shown."
        now = _words(self.approval, "answers")
        before = f"; users liked {_words(self.before, 'sessions')} before" if self.before else ""
        return f"{self.progress}: reviewers like {now}{before}."


class Item(BaseModel):
    """One answer of a review with what a reviewer said of it. `missing`: it is not kept any more."""

    inference_id: str
    cluster: int
    messages: list[dict[str, str]] = []
    answer: str = ""
    thumb: Literal["up", "down"] | None = None
    correction: str = ""
    who: str = ""
    missing: bool = False

    @property
    def reviewed(self) -> bool:
        return self.thumb is not None or bool(self.correction)


class ReviewPage(BaseModel):
    """A review with its answers, in the order in which they are to be judged."""

    review: Review
    answers: list[Item]


def review_of(record: Fact, said: Sequence[Fact], before: Estimate | None) -> Review:
    """From ReviewRequested as it is recorded, and reviewers' statements in the order of their times."""
    value = record["value"]
    likes = {str(name): liked for name, liked in _likes(said).items()}
    judged = [likes[item["inference_id"]] for item in value["items"] if item["inference_id"] in likes]
    approval = estimate(sum(judged), len(judged)) if len(judged) >= TOLD else None
    names = ("alarm", "model", "version", "since", "sentence", "population", "rated")
    return Review(
        review=str(record["event_id"]),
        time=record["time"],
        items=len(value["items"]),
        reviewed=len(judged),
        approval=rate_of(approval),
        before=rate_of(before),
        **{name: value[name] for name in names},
    )


def items_of(record: Fact, answers: Mapping[str, Fact]) -> list[Item]:
    """The answers of a review. `answers`: by id, opened, each with the reviewers' statements."""
    return [_item(item["inference_id"], item["cluster"], answers.get(item["inference_id"]))
            for item in record["value"]["items"]]  # fmt: skip


def _item(inference_id: str, cluster: int, answer: Fact | None) -> Item:
    if answer is None:
        return Item(inference_id=inference_id, cluster=cluster, missing=True)
    said = {event["kind"]: event for event in answer["feedback_events"]}
    thumb = said.get("thumb")
    return Item(
        inference_id=inference_id,
        cluster=cluster,
        messages=[{"role": turn["role"], "content": turn["content"]} for turn in answer["messages"]],
        answer=answer["answer"],
        thumb=None if thumb is None else "up" if thumb["value"] >= 0.5 else "down",
        correction=said["correction"]["text"] or "" if "correction" in said else "",
        who=next((event["who"] for event in reversed(answer["feedback_events"]) if event["who"]), ""),
    )


def _likes(said: Sequence[Fact]) -> dict[Any, float]:
    """By answer: the latest thumb; where there is none, a correction says that the answer was not as it should be."""
    corrected = {row["inference_id"]: 0.0 for row in said if row["kind"] == "correction"}
    return corrected | {row["inference_id"]: float(row["value"] >= 0.5) for row in said if row["kind"] == "thumb"}


def _words(rate: Rate, what: str) -> str:
    return f"{rate.point:.0%} ({rate.low:.0%} to {rate.high:.0%}, {rate.n} {what})"
