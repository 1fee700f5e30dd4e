"""Answers that follow a grammar: which tokens may come next, by llguidance (Earley parsing over the token trie)."""

import json
import math
import re
import threading
from collections import OrderedDict
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
from llguidance import LLMatcher, LLParserLimits, LLTokenizer
from numpy.typing import NDArray

from pawl_inference.engine.constraint import CallFormat, Constraint, Function, JsonSchema
from pawl_inference.engine.port import ConstraintError

Mask = NDArray[np.bool_]
Marks = Mapping[str, int]  # tokens that stand for a text as a whole

# Without a bound, a small model may write spaces until the answer is cut. So much is a line's end and its indentation.
_SPACE = r"[ \n]{0,12}"
_TEXT = r"TEXT: /(.|\n)*/"
_QUOTED = re.compile(r"^ *\d+ \| ", re.MULTILINE)
_PLACE = re.compile(r"^\d+\(\d+\): (failed to compile JSON schema: )?")
_MOST_REMAINDERS = 10_000
_REASON = 300  # characters of the library's reason
# A compiled grammar is some 100 kB, and takes about a millisecond to compile anew.
_KEPT = 64
# Bounds for what a hostile schema may cost, about 14,000 of the lexer's units and 20,000 of the parser's a millisecond.
# Usual schemas stay below a tenth of them.
_LIMITS = LLParserLimits(step_lexer_fuel=100_000, step_max_items=20_000, max_grammar_size=100_000, verbose_errors=False)


class ConstraintBrokenError(Exception):
    """A grammar became too complex in the middle of an answer, or met a token that it does not allow."""


class Matcher:
    """One answer on its way through a grammar."""

    def __init__(self, matcher: LLMatcher, vocabulary: int) -> None:
        self._matcher, self._vocabulary = matcher, vocabulary

    def allowed(self) -> Mask:
        """Which tokens may come next [vocabulary]; the end of the turn only where the answer may end.

        Takes 0.02 ms of a 49k vocabulary (the median; 1.4 ms where the lexer meets a string for the first time), and
        unpacking it 0.03 ms: next to nothing beside a decode step of 10 ms.

        Raises:
            ConstraintBrokenError: the grammar became too complex.
        """
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        self._check()
        return np.unpackbits(bits, count=self._vocabulary, bitorder="little").view(np.bool_)

    def accept(self, token: int) -> bool:
        """Go on by a token; answers whether the answer is complete and nothing can follow.

        Raises:
            ConstraintBrokenError: the token is not allowed, or the grammar became too complex.
        """
        self._matcher.consume_token(token)
        self._check()
        return bool(self._matcher.is_stopped())

    def _check(self) -> None:
        if self._matcher.is_error():
            raise ConstraintBrokenError(self._matcher.get_error())


class Grammars:
    """Compiles constraints for one tokenizer, and keeps the latest. Safe to use from several threads."""

    def __init__(self, tokenizer: Path, vocabulary: int, eos: frozenset[int], calls: CallFormat | None) -> None:
        """`tokenizer`: a tokenizer.json. It is read here (0.3 s, 30 MB): read for the first grammar, it would hold the
        interpreter's lock while others' answers stream. One that llguidance cannot read refuses every grammar."""
        source = json.loads(tokenizer.read_text(encoding="utf-8")) | {"truncation": None, "padding": None}
        self._tokenizer: LLTokenizer | None = None
        self._refused = ""
        try:
            self._tokenizer = LLTokenizer(json.dumps(source), n_vocab=vocabulary, eos_token=sorted(eos))
        except BaseException as error:  # a panic of the library (for one, at a token of 1,100 bytes) is no Exception
            if isinstance(error, KeyboardInterrupt | SystemExit):
                raise
            self._refused = str(error)[:_REASON]
        self._marks: Marks = {added["content"]: added["id"] for added in source.get("added_tokens", ())}
        self._vocabulary, self._calls = vocabulary, calls
        self._compiled: OrderedDict[Constraint, LLMatcher] = OrderedDict()
        self._lock = threading.Lock()

    def compile(self, constraint: Constraint) -> Matcher:
        """A matcher at the beginning of an answer. Takes milliseconds, microseconds when it is known.

        Raises:
            ConstraintError: no grammar can express it; the message says why.
        """
        with self._lock:
            found = self._compiled.get(constraint)
        if found is None:
            found = self._compile(constraint)  # without the lock: nobody waits for somebody else's schema
        with self._lock:
            self._compiled[constraint] = found
            self._compiled.move_to_end(constraint)
            if len(self._compiled) > _KEPT:
                self._compiled.popitem(last=False)
            return Matcher(found.deep_copy(), self._vocabulary)

    def _compile(self, constraint: Constraint) -> LLMatcher:
        if self._tokenizer is None:
            raise ConstraintError(f"this base model's answers cannot follow a grammar: {self._refused}")
        grammar = grammar_of(constraint, self._calls, self._marks)
        matcher = LLMatcher(self._tokenizer, grammar, log_level=0, limits=_LIMITS)
        if not matcher.is_error():
            # Only behind the first token can a grammar be too wide for the parser (a thousand optional properties).
            bits = np.unpackbits(np.frombuffer(matcher.compute_bitmask(), np.uint8), bitorder="little")
            trial = matcher.deep_copy()
            trial.consume_token(int(bits.argmax()))
            trial.compute_bitmask()
        if (failed := matcher if matcher.is_error() else trial).is_error():
            raise ConstraintError(_reason(failed.get_error()))
        return matcher


def _reason(error: str) -> str:
    """What the library says, without the lines of the grammar that it quotes."""
    said = _QUOTED.split(error)[0].removeprefix("at ")
    return " ".join(_PLACE.sub("", said).split())[:_REASON]


def grammar_of(constraint: Constraint, calls: CallFormat | None, marks: Marks) -> str:
    """A constraint in llguidance's dialect of Lark.

    Raises:
        ConstraintError: it has functions, and the base model has no format for calls.
    """
    answer = _json(constraint.answer) if constraint.answer else None
    if not constraint.functions:
        return _grammar(f"start: {answer or 'TEXT'}", _TEXT)
    if calls is None:
        raise ConstraintError("this base model has no format for calls of tools")
    words = _Words(calls, marks)
    objects = [f"call_{number}: {words.object(each)}" for number, each in enumerate(constraint.functions)]
    one = f"one: {' | '.join(f'call_{number}' for number in range(len(objects)))}"
    whole = f"calls: {words.calls(constraint.max_calls)}"
    if constraint.must_call or answer:
        start = "start: calls" if constraint.must_call else f"start: calls | {answer}"
        return _grammar(start, whole, one, *objects)
    if not calls.begin:
        # Without marks, an answer that begins like JSON is a call.
        return _grammar("start: calls | TEXT |", whole, one, *objects, "TEXT: /[^{\\[ \\n](.|\\n)*/")
    # A text may lead to the calls: as soon as it holds the first mark, a call follows.
    led = f"led: {words.lead} {words.calls(constraint.max_calls, led=True)}"
    return _grammar("start: TEXT | led", led, *words.lead_rules, one, *objects, _TEXT)


def _grammar(*rules: str) -> str:
    return "\n".join(["%llguidance {}", *rules]) + "\n"


class _Words:
    """The words of calls in Lark. What is a token of its own (Qwen's `<tool_call>`) has to be named as one."""

    def __init__(self, form: CallFormat, marks: Marks) -> None:
        self._form = form
        self._marks = {mark: marks[mark] for mark in (form.begin, form.end) if mark in marks}
        own = form.begin in self._marks
        self.lead = f"TEXT {self.text(form.begin)}" if own else "lead"
        self.lead_rules = () if own else (f"lead[lazy]: TEXT {self.text(form.begin)}",)

    def text(self, text: str) -> str:
        """A text, its marks as tokens."""
        for mark, token in self._marks.items():
            before, found, after = text.partition(mark)
            if found:
                return f"{self.text(before)} <[{token}]> {self.text(after)}"
        return json.dumps(text, ensure_ascii=False) if text else ""

    def calls(self, most: int, *, led: bool = False) -> str:
        """One call or more; `led`: the first mark stands before them already."""
        form = self._form
        opening, closing = form.opening.removeprefix(form.begin if led else ""), form.closing
        again = form.between if form.as_list else closing + form.between + form.opening
        further = f"({self.text(again)} one){{0,{most - 1}}}" if most > 1 else ""
        bracket = ("[", "]") if form.as_list else ("", "")
        return f"{self.text(opening + bracket[0])} one {further} {self.text(bracket[1] + closing)}"

    def object(self, function: Function) -> str:
        """The object that is a call: spaced as chat templates write it, its schema apart for the references in it."""
        head = f'{{"name": {json.dumps(function.name)}, "{self._form.key}": '
        return f"{self.text(head)} {_json(function.parameters)} {self.text('}')}"


def _json(schema: JsonSchema) -> str:
    """A JSON schema in Lark."""
    options = {"whitespace_pattern": _SPACE, "lenient": not schema.strict, "coerce_one_of": not schema.strict}
    content: dict[str, Any] = json.loads(schema.text)
    _check_multiples(content)
    return f"%json {json.dumps(content | {'x-guidance': options}, ensure_ascii=False)}"


def _check_multiples(schema: dict[str, Any]) -> None:
    """Raises ConstraintError: the automaton of all `multipleOf` together would have too many states.

    It counts remainders, and no limit of the library's holds it: 999,983 took 8 s and 700 MB. Factors of ten are free.
    """
    states, left = 1, [schema]
    while left:
        part: Any = left.pop()
        if isinstance(part, dict):
            step = part.get("multipleOf")
            if isinstance(step, int | float) and not isinstance(step, bool) and step > 0:
                states = math.lcm(states, _without_tens(step))
            left += part.values()
        elif isinstance(part, list):
            left += part
        if states > _MOST_REMAINDERS:
            raise ConstraintError(f"multipleOf is taken up to {_MOST_REMAINDERS}, of all together, factors of 10 aside")


def _without_tens(step: float) -> int:
    """The part of a number's digits that has no factor 2 or 5."""
    number = int("".join(map(str, Decimal(str(step)).as_tuple().digits)))
    while (common := math.gcd(number, 10)) > 1:
        number //= common
    return number
