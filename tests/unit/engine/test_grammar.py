"""What a grammar lets through: JSON by schema, calls of tools in each format, and the end only where it may be."""

import json
from pathlib import Path

import pytest
from support.small_tokenizer import END, write_small_tokenizer
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel
from tokenizers.models import BPE, WordLevel

from pawl_inference.engine.constraint import CallFormat, Constraint, Function, JsonSchema
from pawl_inference.engine.grammar import ConstraintBrokenError, Grammars
from pawl_inference.engine.port import ConstraintError

TAGGED = CallFormat("<tool_call>", "</tool_call>")
LISTED = CallFormat("<tool_call>", "</tool_call>", as_list=True)
BARE = CallFormat(key="parameters")
WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "unit": {"enum": ["c", "f"]}},
    "required": ["city", "unit"],
    "additionalProperties": False,
}


class Judge:
    """Walks texts through grammars, token by token."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer: Tokenizer = write_small_tokenizer(folder)
        self.end = self.tokenizer.token_to_id(END)
        self.path, self.size = folder / "tokenizer.json", self.tokenizer.get_vocab_size()

    def grammars(self, calls: CallFormat | None = TAGGED) -> Grammars:
        return Grammars(self.path, self.size, frozenset({self.end}), calls)

    def walk(self, constraint: Constraint, text: str, calls: CallFormat | None = TAGGED) -> str:
        """How far the text gets: "whole" where it may end there, "open" where it must go on, or what was refused."""
        matcher = self.grammars(calls).compile(constraint)
        for token in self.tokenizer.encode(text).ids:
            if not matcher.allowed()[token]:
                return f"refused {self.tokenizer.id_to_token(token)}"
            if matcher.accept(token):
                return "whole"
        return "whole" if matcher.allowed()[self.end] else "open"


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Judge:
    return Judge(tmp_path_factory.mktemp("tokenizer"))


def schema(value: object, *, strict: bool = True) -> Constraint:
    return Constraint(answer=JsonSchema.of(value, strict=strict))


def tools(*names: str, must_call: bool = True, max_calls: int = 3, parameters: object = WEATHER) -> Constraint:
    functions = tuple(Function(name, JsonSchema.of(parameters, strict=True)) for name in names)
    return Constraint(functions=functions, must_call=must_call, max_calls=max_calls)


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ('{"city": "Köln", "unit": "c"}', "whole"),
        ('{\n  "city": "a",\n  "unit": "f"\n}', "whole"),
        ('{"city": "Köln"', "open"),
        ('{"city": "Köln", "unit": "k', "refused k"),
        ('{"town"', "refused t"),
        ("Here is", "refused H"),
        ("{" + 13 * " ", "refused Ġ"),
    ],
)
def test_an_answer_by_schema(judge: Judge, text: str, verdict: str) -> None:
    assert judge.walk(schema(WEATHER), text) == verdict


def test_any_object_and_nested_arrays(judge: Judge) -> None:
    assert judge.walk(schema({"type": "object"}), '{"a": [1, {"b": null}]}') == "whole"
    assert judge.walk(schema({"type": "object"}), "[") == "refused ["
    nested = {"type": "array", "items": {"type": "array", "items": {"type": "integer"}}, "maxItems": 2}
    assert judge.walk(schema(nested), "[[1, 2], [3]]") == "whole"
    assert judge.walk(schema(nested), "[[1, 2], [3], [") == "refused ,"


@pytest.mark.parametrize(
    ("form", "one", "two"),
    [
        (TAGGED, '<tool_call>\n{"name": "%s", "arguments": %s}\n</tool_call>', "\n"),
        (LISTED, '<tool_call>[{"name": "%s", "arguments": %s}]</tool_call>', ""),
        (BARE, '{"name": "%s", "parameters": %s}', "; "),
    ],
)
def test_calls_in_each_format(judge: Judge, form: CallFormat, one: str, two: str) -> None:
    given = '{"city": "Rome", "unit": "c"}'
    call = one % ("weather", given)
    assert form.write([("weather", json.loads(given))]) == call
    assert judge.walk(tools("weather", "time"), call, form) == "whole"
    assert judge.walk(tools("weather", "time"), call.replace("weather", "news"), form) == "refused n"
    both = form.write([("weather", json.loads(given)), ("time", json.loads(given))])
    assert two in both
    assert judge.walk(tools("weather", "time"), both, form) == "whole"
    assert judge.walk(tools("weather", "time", max_calls=1), both, form) in ("whole", "refused ,")
    assert judge.walk(tools("weather"), "Sure", form).startswith("refused")


@pytest.mark.parametrize("form", [TAGGED, LISTED, BARE])
def test_a_text_or_calls(judge: Judge, form: CallFormat) -> None:
    free = tools("weather", must_call=False)
    call = form.write([("weather", {"city": "Rome", "unit": "c"})])
    assert judge.walk(free, "It is < 3 and\n{fine} 日本", form) == "whole"
    assert judge.walk(free, "", form) == "whole"
    assert judge.walk(free, call, form) == "whole"
    assert judge.walk(free, call[: call.index("Rome")], form) == "open"
    assert judge.walk(free, call.replace("weather", "news"), form) == "refused n"
    if form.begin:
        assert judge.walk(free, f"Let me look.\n{call}", form) == "whole"


def test_an_answer_by_schema_or_calls(judge: Judge) -> None:
    found = tools("weather", must_call=False)
    either = Constraint(JsonSchema.of({"type": "object"}, strict=True), found.functions)
    assert judge.walk(either, '{"a": 1}') == "whole"
    assert judge.walk(either, TAGGED.write([("weather", {"city": "Rome", "unit": "c"})])) == "whole"
    assert judge.walk(either, "Hello") == "refused H"


def test_references_inside_parameters(judge: Judge) -> None:
    parameters = {"type": "object", "properties": {"n": {"$ref": "#/$defs/n"}}, "$defs": {"n": {"enum": [1]}}}
    call = TAGGED.write([("f", {"n": 1})])
    assert judge.walk(tools("f", parameters=parameters), call) == "whole"
    assert judge.walk(tools("f", parameters=parameters), call.replace("1", "2")) == "refused 2"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"type": "array", "uniqueItems": True}, "uniqueItems"),
        ({"type": "string", "pattern": "(?=a)b"}, "look-around"),
        ({"$ref": "#/$defs/none"}, r"\$defs/none"),
        ({"type": "text"}, "Invalid type: text"),
        ({"type": "string", "minLength": 3, "maxLength": 1}, "Unsatisfiable"),
        ({"type": "object", "properties": {f"p{n}": {} for n in range(1500)}}, "Current row has"),
        ({"oneOf": [{"type": "object"}, {"type": "object", "properties": {"a": {}}}]}, "oneOf"),
        # seconds and gigabytes, if they were tried
        ({"type": "integer", "multipleOf": 999_983}, "multipleOf"),
        ({"type": "integer", "allOf": [{"multipleOf": 97}, {"multipleOf": 101}, {"multipleOf": 7}]}, "multipleOf"),
    ],
)
def test_what_no_grammar_can_express_or_pay_for_is_refused_with_the_reason(
    judge: Judge, value: object, reason: str
) -> None:
    with pytest.raises(ConstraintError, match=reason) as caught:
        judge.grammars().compile(schema(value))
    assert "|" not in str(caught.value)  # the grammar itself is nobody's business


def test_without_strict_what_cannot_be_expressed_is_left_out(judge: Judge) -> None:
    value = {"type": "array", "items": {"type": "integer"}, "uniqueItems": True}
    assert judge.walk(schema(value, strict=False), "[1, 1]") == "whole"
    either = {"oneOf": [{"type": "integer"}, {"type": "boolean"}]}
    assert judge.walk(schema(either, strict=False), "true") == "whole"
    assert judge.walk(schema(either, strict=False), "null") == "refused n"


def test_calls_need_a_format(judge: Judge) -> None:
    with pytest.raises(ConstraintError, match="no format for calls"):
        judge.grammars(None).compile(tools("weather"))


def test_a_token_that_is_not_allowed_breaks_one_answer_only(judge: Judge) -> None:
    grammars = judge.grammars()
    broken, other = grammars.compile(schema({"type": "object"})), grammars.compile(schema({"type": "object"}))
    with pytest.raises(ConstraintBrokenError):
        broken.accept(judge.tokenizer.encode("x").ids[0])
    assert not other.accept(judge.tokenizer.encode("{").ids[0])
    assert other.allowed().any()


def test_the_end_may_be_the_only_thing_left(judge: Judge) -> None:
    matcher = judge.grammars().compile(schema({"const": 7}))
    assert matcher.accept(judge.tokenizer.encode("7").ids[0])
    assert matcher.allowed().nonzero()[0].tolist() == [judge.end]


def test_a_tokenizer_that_cannot_be_constrained_refuses_each_grammar_and_nothing_else(tmp_path: Path) -> None:
    source = tmp_path / "tokenizer.json"
    words = Tokenizer(WordLevel({"<end>": 0, "word": 1}, unk_token="<end>"))
    long = Tokenizer(BPE({"<end>": 0, "a" * 1_100: 1}, []))  # llguidance panics, which is no Exception
    long.decoder = ByteLevel()
    for tokenizer in (words, long):
        tokenizer.save(str(source))
        grammars = Grammars(source, 2, frozenset({0}), None)
        for _ in range(2):
            with pytest.raises(ConstraintError, match=r"cannot follow a grammar: .+"):
                grammars.compile(schema({"type": "object"}))
