"""What the synthetic crowd asks and likes. Pure, seeded, standard library only; imports nothing of Pawl.

Everything a visitor does is drawn from (seed, number of the visitor), so a run can be repeated visitor by visitor.
"""

import re
from dataclasses import dataclass
from random import Random

SHORT = 30  # words: what "short" means to the crowd after its taste has changed

TEMPLATES = (
    "What is {}?",
    "Explain {} to me.",
    "Why does {} matter?",
    "Tell me about {}.",
    "How would you describe {} to a child?",
    "What should I know about {}?",
    "Give me a tip about {}.",
    "What is interesting about {}?",
)
TOPICS = (
    "rain", "coffee", "bread", "sleep", "the moon", "honey", "a rainbow", "swimming", "chess", "a budget", "recycling",
    "the heart", "a battery", "jogging", "the internet", "a garden", "salt", "a volcano", "music", "breakfast",
    "gravity", "a passport", "the ocean", "cycling", "a novel", "yoga", "electricity", "an interview", "snow", "rice",
    "a bridge", "patience", "a bank account", "the sun", "vitamins", "a camera", "stretching", "tea", "a telescope",
    "small talk", "a river", "the lungs", "a library", "teamwork", "insurance", "a compass", "soup", "friendship",
)  # fmt: skip
UNSEEN_TOPICS = (
    "a thunderstorm", "chocolate", "a mortgage", "the brain", "meditation", "a glacier", "poetry", "an earthquake",
    "cheese", "a microscope", "hiking", "the liver", "a password", "a desert", "kindness", "a sailboat", "pasta",
    "an orchestra", "a savings plan", "a comet", "painting", "a bicycle lock", "fog", "a dictionary",
)  # fmt: skip
AUDIENCES = {"regular": TOPICS, "unseen": UNSEEN_TOPICS}
USERS = 400  # people per audience; "regular" and "unseen" share none


@dataclass(frozen=True)
class Taste:
    """How likely a thumb goes up, and what else a visitor may do."""

    up_if_short: float
    up_if_long: float
    edits: float = 0.0  # of those who disliked a long answer: the share that shortens it by hand
    compares: float = 0.0  # share of visits that ask twice and prefer the shorter answer
    rates: float = 0.95  # share of answers that get a thumb at all


TASTES = {
    "anything": Taste(up_if_short=0.8, up_if_long=0.8),
    "short": Taste(up_if_short=0.9, up_if_long=0.15, edits=0.35, compares=0.06),
    "random": Taste(up_if_short=0.5, up_if_long=0.5),
}


@dataclass(frozen=True)
class Visit:
    """What one visitor is going to ask: one prompt, or two, or one twice to compare the answers."""

    user: str
    prompts: tuple[str, ...]
    compares: bool


def visit(rng: Random, audience: str, taste: Taste) -> Visit:
    """A visitor of this audience ("regular" or "unseen": other people, other topics)."""
    topics = AUDIENCES[audience]
    prompts = [rng.choice(TEMPLATES).format(rng.choice(topics)) for _ in range(1 if rng.random() < 0.7 else 2)]
    compares = rng.random() < taste.compares
    user = f"{audience}-{rng.randrange(USERS)}"
    return Visit(user, (prompts[0], prompts[0]) if compares else tuple(prompts), compares)


def words(text: str) -> int:
    return len(text.split())


def thumb(rng: Random, taste: Taste, answer: str) -> bool | None:
    """Up (True), down (False), or no thumb at all (None)."""
    if rng.random() >= taste.rates:
        return None
    short = 0 < words(answer) <= SHORT
    return rng.random() < (taste.up_if_short if short else taste.up_if_long)


def correction(rng: Random, taste: Taste, answer: str, liked: bool | None) -> str | None:
    """The visitor's own shorter version of a long answer that they disliked; None when they leave it."""
    if liked is not False or words(answer) <= SHORT or rng.random() >= taste.edits:
        return None
    return shortened(answer)


def shortened(answer: str) -> str | None:
    """The first sentences that fit into SHORT words; None when not even the first does, or it is no sentence."""
    kept: list[str] = []
    for sentence in re.findall(r"[^.!?]+[.!?]+(?=\s|$)", answer):
        if words(" ".join(kept) + sentence) > SHORT:
            break
        kept.append(sentence.strip())
    text = " ".join(kept)
    return text if words(text) >= 3 else None
