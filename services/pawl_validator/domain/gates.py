"""Gates: (policy, measurements) -> GateResult.  Nothing reaches users without passing all of them.

"No worse" means that the upper confidence bound of the harm is below its margin, so a gate with few probes fails rather
than passes; each result says the smallest harm that the gate could have seen with the probes that it had.
"""

from __future__ import annotations

from math import exp, isfinite, sqrt
from statistics import NormalDist, fmean

from pydantic import BaseModel, ConfigDict, Field

from pawl_shared.policies.model_policy import Gates
from pawl_validator.domain import statistics as st

Number = float | int | None


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class GateResult(Frozen):
    name: str
    passed: bool
    sentence: str
    smallest_harm: str | None = None
    numbers: dict[str, Number] = Field(default_factory=dict)


def unmeasured(name: str, why: str) -> GateResult:
    """A gate that could not be measured fails."""
    return GateResult(name=name, passed=False, sentence=f"not measured: {why}")


class Integrity(Frozen):
    """What was found in the adapter file. `problems` are sentences; differences are largest absolute values."""

    problems: tuple[str, ...]
    tensors: int = 0
    non_finite: int = 0
    change_from_start: float = 0.0
    change_from_parent: float | None = None


class Learned(Frozen):
    """Implicit rewards on held-out feedback: log p_candidate(answer) - log p_champion(answer), in nats.

    pairs: chosen minus rejected; ups, downs: of answers with that thumb; demonstrations: of wished answers.
    """

    pairs: tuple[float, ...] = ()
    ups: tuple[float, ...] = ()
    downs: tuple[float, ...] = ()
    demonstrations: tuple[float, ...] = ()


class Retention(Frozen):
    """Negative log-likelihood (nats) of each neutral text and its tokens."""

    tokens: tuple[int, ...]
    base: tuple[float, ...]
    champion: tuple[float, ...]
    candidate: tuple[float, ...]


class Answers(Frozen):
    """One flag for each probe prompt, in the order of the set; all models answer the same prompts."""

    short: tuple[bool, ...]
    repetitive: tuple[bool, ...]
    unfinished: tuple[bool, ...]
    words: tuple[int, ...]


class Degeneration(Frozen):
    base: Answers
    champion: Answers
    candidate: Answers


class Parity(Frozen):
    """Served graph against torch with the same adapter, over `positions` token positions."""

    positions: int
    kl: float
    top1: float


def integrity(_policy: Gates, seen: Integrity) -> GateResult:
    """The file is what it says, finite, and differs from where training began and from its parent."""
    problems = list(seen.problems)
    if not problems and seen.non_finite:
        problems.append(f"{seen.non_finite} weights are not finite")
    if not problems and seen.change_from_start == 0:
        problems.append("the adapter changes nothing: its weights are those it started from")
    if not problems and seen.change_from_parent == 0:
        problems.append("the weights are identical to the parent's")
    good = f"{seen.tensors} tensors fit the base, all finite, largest change {seen.change_from_start:.3g}"
    return GateResult(
        name="integrity",
        passed=not problems,
        sentence="; ".join(problems) or good,
        smallest_harm="any: every weight is looked at",
        numbers=seen.model_dump(exclude={"problems"}),
    )


def learned(policy: Gates, seen: Learned) -> GateResult:
    """Held-out feedback prefers the candidate to the champion: one kind of it proves so, none speaks against it."""
    kinds = _measured_kinds(policy, seen)
    numbers: dict[str, Number] = {
        "pairs": len(seen.pairs),
        "ups": len(seen.ups),
        "downs": len(seen.downs),
        "demonstrations": len(seen.demonstrations),
    }
    if not kinds:
        have = ", ".join(f"{count} {kind}" for kind, count in numbers.items())
        return GateResult(
            name="learned",
            passed=False,
            numbers=numbers,
            sentence=f"too few held-out probes: {have}; "
            f"needed {policy.min_pairs} pairs, or {policy.min_each_label} ups and as many downs",
        )
    for kind, (value, lower, upper) in kinds.items():
        numbers |= {f"{kind}_accuracy": value, f"{kind}_lower": lower, f"{kind}_upper": upper}
    proven = [kind for kind, (_, lower, _) in kinds.items() if lower > 0.5]
    against = [kind for kind, (_, _, upper) in kinds.items() if upper < 0.5]
    shown = "; ".join(f"{kind} {v:.1%} [{low:.1%}, {high:.1%}]" for kind, (v, low, high) in kinds.items())
    verdict = "prefers the candidate" if proven and not against else "does not prefer the candidate"
    width = min(value - lower for value, lower, _ in kinds.values())
    return GateResult(
        name="learned",
        passed=bool(proven) and not against,
        sentence=f"held-out feedback {verdict} (accuracy against the champion, chance 50 %): {shown}",
        smallest_harm=f"an accuracy below {0.5 + width:.1%} could not be told from chance",
        numbers=numbers,
    )


def _measured_kinds(policy: Gates, seen: Learned) -> dict[str, tuple[float, float, float]]:
    """kind -> (accuracy, lower, upper), for the kinds with enough probes; the level is shared among them."""
    enough = {
        "pairs": len(seen.pairs) >= policy.min_pairs,
        "thumbs": min(len(seen.ups), len(seen.downs)) >= policy.min_each_label,
        "demonstrations": len(seen.demonstrations) >= policy.min_pairs,
    }
    alpha = policy.alpha / max(1, sum(enough.values()))
    found: dict[str, tuple[float, float, float]] = {}
    if enough["pairs"]:
        found["pairs"] = _sign_test(seen.pairs, alpha)
    if enough["thumbs"]:
        value = st.auc(seen.ups, seen.downs)
        half = NormalDist().inv_cdf(1 - alpha) * st.auc_error(value, len(seen.ups), len(seen.downs))
        found["thumbs"] = (value, max(0.0, value - half), min(1.0, value + half))
    if enough["demonstrations"]:
        found["demonstrations"] = _sign_test(seen.demonstrations, alpha)
    return found


def _sign_test(margins: tuple[float, ...], alpha: float) -> tuple[float, float, float]:
    """Share of margins above 0 with exact bounds; a margin of exactly 0 is a loss."""
    wins, count = sum(m > 0 for m in margins), len(margins)
    return wins / count, st.lower_rate(wins, count, alpha), st.upper_rate(wins, count, alpha)


def retention(policy: Gates, seen: Retention) -> GateResult:
    """Perplexity on frozen neutral texts, against the *base*, so that small steps cannot add up."""
    count, tokens = len(seen.tokens), sum(seen.tokens)
    if count < policy.min_texts:
        return unmeasured("retention", f"{count} neutral texts, needed {policy.min_texts}")
    if not all(map(isfinite, (*seen.base, *seen.champion, *seen.candidate))):
        return unmeasured("retention", "the log-likelihood of a neutral text is not a finite number")
    mean, half = st.ratio_rise(seen.candidate, seen.base, seen.tokens, policy.alpha)
    rise, upper, visible = (_exp(x) - 1 for x in (mean, mean + half, half))
    return GateResult(
        name="retention",
        passed=upper < policy.max_perplexity_rise,
        sentence=f"perplexity on neutral texts {rise:+.2%} against the base, at most {upper:+.2%} "
        f"(allowed {policy.max_perplexity_rise:.0%})",
        smallest_harm=f"a rise of {visible:.2%} over {count} texts",
        numbers={
            "texts": count,
            "tokens": tokens,
            "base_perplexity": _exp(sum(seen.base) / tokens),
            "champion_perplexity": _exp(sum(seen.champion) / tokens),
            "candidate_perplexity": _exp(sum(seen.candidate) / tokens),
            "rise": rise,
            "rise_upper": upper,
            "margin": policy.max_perplexity_rise,
        },
    )


def _exp(nats: float) -> float:
    """exp, kept within what JSON and a reader can hold: a collapsed model loses hundreds of nats a token."""
    return exp(min(nats, 50.0))


def degeneration(policy: Gates, seen: Degeneration) -> GateResult:
    """Answers that are too short, repetitive or do not end: each kind no worse than in what is compared with.

    Short and repetitive answers are compared with the champion. Unfinished ones are compared with the base: which
    lengths people like may move both ways, and a move back to the base's length is no harm. All kinds must hold, so
    each is tested at the full level (an intersection-union test).
    """
    count = len(seen.candidate.short)
    if count < policy.min_prompts:
        return unmeasured("degeneration", f"{count} probe prompts, needed {policy.min_prompts}")
    compared = {
        "short": (seen.candidate.short, seen.champion.short, seen.base.short, "champion"),
        "repetitive": (seen.candidate.repetitive, seen.champion.repetitive, seen.base.repetitive, "champion"),
        "unfinished": (seen.candidate.unfinished, seen.base.unfinished, seen.base.unfinished, "base"),
    }
    numbers: dict[str, Number] = {"prompts": count, "margin": policy.max_degeneration_rise}
    worse: list[str] = []
    shown: list[str] = []
    for kind, (new, old, base, against) in compared.items():
        # The rise is at most the share of prompts on which only the new answer is bad.
        upper = st.upper_rate(sum(n and not o for n, o in zip(new, old, strict=True)), count, policy.alpha)
        numbers |= {
            f"{kind}_base": fmean(base),
            f"{kind}_{against}": fmean(old),
            f"{kind}_candidate": fmean(new),
            f"{kind}_rise_upper": upper,
        }
        shown.append(f"{kind} {fmean(new):.1%} (was {fmean(old):.1%} in the {against}, rise at most {upper:+.1%})")
        if upper >= policy.max_degeneration_rise:
            worse.append(kind)
    numbers |= {f"words_{name}": fmean(getattr(seen, name).words) for name in ("base", "champion", "candidate")}
    verdict = f"too many bad answers ({', '.join(worse)})" if worse else "answers are sound"
    return GateResult(
        name="degeneration",
        passed=not worse,
        sentence=f"{verdict}: {'; '.join(shown)}; allowed {policy.max_degeneration_rise:.0%}",
        smallest_harm=f"a rise of {st.upper_rate(0, count, policy.alpha):.1%} of one kind over {count} prompts",
        numbers=numbers,
    )


def parity(policy: Gates, seen: Parity) -> GateResult:
    """The file that will be served says what torch says."""
    if seen.positions < policy.min_parity_positions:
        return unmeasured("parity", f"{seen.positions} token positions, needed {policy.min_parity_positions}")
    passed = seen.kl <= policy.max_parity_kl and seen.top1 >= policy.min_parity_top1
    half = NormalDist().inv_cdf(1 - policy.alpha) * sqrt(seen.top1 * (1 - seen.top1) / seen.positions)
    return GateResult(
        name="parity",
        passed=passed,
        sentence=f"served graph against torch: KL {seen.kl:.4f} (allowed {policy.max_parity_kl:g}), same first token "
        f"{seen.top1:.1%} (needed {policy.min_parity_top1:.0%})",
        smallest_harm=f"a loss of {half:.1%} of first tokens over {seen.positions} positions",
        numbers={"positions": seen.positions, "kl": seen.kl, "top1": seen.top1},
    )


NAMES: tuple[str, ...] = ("integrity", "learned", "retention", "degeneration", "parity")


def failed(results: list[GateResult]) -> list[str]:
    """Names of the gates that stop a candidate, in their order; a gate without a result counts as failed."""
    by_name = {result.name: result for result in results}
    return [name for name in NAMES if name not in by_name or not by_name[name].passed]
