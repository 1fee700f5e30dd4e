"""Who stands in for what a single thread cannot run: the crowd and the edge."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from random import Random
from uuid import UUID

from benchmarks.simulated.streams import TOKENS

from pawl_shared import events as e
from pawl_shared.access.tokens import mark
from pawl_shared.buses.port import Bus, Message, Producer
from pawl_shared.codec import decode, encode
from pawl_shared.errors import BusError
from pawl_shared.ids import derived_id, is_challenger, uuid7

MODEL = "default/assistant"
BASE, GRAPH = "ba" * 32, "9a" * 32


def digest(*parts: object) -> str:
    """A made-up artifact."""
    return sha256("/".join(map(str, parts)).encode()).hexdigest()


@dataclass
class Open:
    """A conversation of the crowd that goes on."""

    session: str
    answers: list[e.InferenceLogged] = field(default_factory=list)


class Edge:
    """The crowd and the inference service: answers by the deployment that it knows, and a journal that is forwarded.

    Whatever stands in the journal was acknowledged; `acknowledged` remembers it for the invariants.
    """

    def __init__(self, bus: Bus, rng: Random, taste: dict[str, float]) -> None:
        self._bus, self._rng, self._taste = bus, rng, taste
        self._producer: Producer = bus.producer("edge")
        self._journal: list[Message] = []
        self._open: list[Open] = []
        self._sessions = 0
        self.deployment: e.DeploymentChanged | None = None
        self.acknowledged: list[e.InferenceLogged | e.FeedbackReceived] = []

    @property
    def idle(self) -> bool:
        """Whether everything was forwarded."""
        return not self._journal

    def follow(self) -> None:
        """Learn who serves; a moment late, as replicas are."""
        for record in self._bus.read("pawl.deployments"):
            event = decode(record) if record is not None else None
            known = self.deployment.revision if self.deployment else 0
            if isinstance(event, e.DeploymentChanged) and event.revision > known:
                self.deployment = event

    def act(self, now: datetime) -> str:
        """Somebody begins a conversation, goes on with one, or says what they think."""
        if self.deployment is None:
            return "nobody serves yet"
        choice = self._rng.random()
        if not self._open or choice < 0.3:
            self._sessions += 1
            self._open.append(Open(f"session-{self._sessions}"))
            return self._ask(self._open[-1], now)
        if choice < 0.5:
            return self._ask(self._rng.choice(self._open), now)
        conversation = self._rng.choice(self._open)
        said = self._say(self._rng.choice(conversation.answers), now)
        if self._rng.random() < 0.4:
            self._open.remove(conversation)
        return said

    def forward(self) -> str:
        """Send the journal in order; what the broker does not take stays. At least once: the place may be lost."""
        while self._journal:
            try:
                self._producer.send(self._journal[0]).result()
            except BusError:
                return "the edge waits for the broker"
            self._journal.pop(0)
        return "the edge has forwarded all"

    def _take(self, event: e.InferenceLogged | e.FeedbackReceived) -> None:
        self.acknowledged.append(event)
        message = encode(event)
        self._journal.append(mark(TOKENS, message) if isinstance(event, e.FeedbackReceived) else message)

    def _ask(self, conversation: Open, now: datetime) -> str:
        deployment = self.deployment
        assert deployment is not None, "act() has looked"
        on_trial = deployment.challenger is not None and deployment.canary is not None
        tried = on_trial and is_challenger(deployment.canary or UUID(int=0), conversation.session, deployment.share)
        served = deployment.challenger if tried and deployment.challenger else deployment.champion
        inference = uuid7(now, self._rng)
        logged = e.InferenceLogged(
            id=derived_id(inference, "logged"), time=now, source="edge", inference_id=inference, model=MODEL,
            session=conversation.session, subject=f"user-{self._sessions % 9}",
            messages=(e.Message(role="user", content=f"Question {self._rng.randrange(40)}?"),), answer="An answer.",
            finish_reason="stop", arm="challenger" if tried else "champion", version=served.version,
            canary=deployment.canary if on_trial else None, revision=deployment.revision, prompt_tokens=5,
            answer_tokens=3, first_token_seconds=0.1, total_seconds=0.2,
        )  # fmt: skip
        conversation.answers.append(logged)
        # The app may be faster with its feedback than the edge with its journal.
        self._take(logged)
        return f"somebody asks in {conversation.session}"

    def _say(self, answer: e.InferenceLogged, now: datetime) -> str:
        liked = self._rng.random() < self._taste.get(answer.version, 0.9)
        kind = self._rng.choice(("thumb", "thumb", "rating", "comment", "outcome"))
        value = {"comment": None, "rating": 5.0 if liked else 1.0}.get(kind, float(liked))
        self._take(
            e.FeedbackReceived(
                id=uuid7(now, self._rng),
                time=now,
                source="edge",
                inference_id=answer.inference_id,
                model=MODEL,
                session=answer.session,
                subject=answer.subject,
                kind=kind,
                name="solved" if kind == "outcome" else "",
                value=value,
                text=None,
            )
        )
        return f"somebody says what they think in {answer.session}"
