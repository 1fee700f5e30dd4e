"""A model.yaml, or the file of an experiment, read and written: every mistake with its file, line and key, and what to
write instead."""

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from pawl_shared.errors import ConfigurationError
from pawl_shared.policies.model_policy import ModelPolicy

S = TypeVar("S", bound=BaseModel)
Place = tuple[str, ...]
_UNITS = (("w", 604_800), ("d", 86_400), ("h", 3600), ("m", 60), ("s", 1))


@dataclass(frozen=True)
class Problem:
    """One mistake. `line` counts from 1."""

    line: int
    key: str
    what: str


class ModelFileError(ConfigurationError):
    """A file that cannot be used; `problems` are all of its mistakes."""

    def __init__(self, path: Path, problems: list[Problem]) -> None:
        self.problems = sorted(problems, key=lambda problem: problem.line)
        lines = [f"{path}:{p.line}: {p.key + ': ' if p.key else ''}{p.what}" for p in self.problems]
        super().__init__("\n".join(lines))


def load(path: Path) -> ModelPolicy:
    """The policy in a file. Raises ModelFileError with every mistake, or ConfigurationError when it cannot be read, or
    names detectors of a library that is missing."""
    policy = load_as(path, ModelPolicy, "pawl model init")
    missing = [f"{name} (by {watch.by})" for name, watch in policy.detectors.more.items() if watch.by != "pawl"]
    if missing and find_spec("river") is None:
        raise ConfigurationError(
            f"{path}: detectors.more: {', '.join(missing)}: this is a detector of river, which is not installed. "
            "Install Pawl's extra `river`, also where the monitor runs, or write `by: pawl`"
        )
    return policy


def load_as(path: Path, section: type[S], made_by: str) -> S:
    """What a file of this kind says; `made_by` writes one. Raises like load()."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read ({error}): `{made_by} {path}` writes a new one") from error
    return parse_as(text, path, section, made_by)


def parse(text: str, path: Path) -> ModelPolicy:
    """The policy in a text that stands at `path`. Raises ModelFileError."""
    return parse_as(text, path, ModelPolicy, "pawl model init")


def parse_as(text: str, path: Path, section: type[S], made_by: str) -> S:
    """What a text of this kind says. Raises ModelFileError."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        content = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        said = " ".join(filter(None, (error.context, error.problem)))
        raise ModelFileError(path, [Problem(mark.line + 1 if mark else 1, "", f"not YAML: {said}")]) from error
    except (yaml.YAMLError, ValueError) as error:  # a character that YAML forbids, a date that there is not
        raise ModelFileError(path, [Problem(1, "", f"not YAML: {error}")]) from error
    if not isinstance(node, yaml.MappingNode):
        advice = f"it is a mapping of keys: `{made_by}` writes one with all of them"
        raise ModelFileError(path, [Problem(1, "", advice)])
    places = _Places(section)
    problems = list(places.read(node, section, ()))
    try:
        found = section.model_validate(content)
    except ValidationError as error:
        problems += [places.problem(dict(one)) for one in error.errors(include_url=False)]
        raise ModelFileError(path, problems) from error
    if problems:
        raise ModelFileError(path, problems)
    return found


class WatchedFile:
    """A model.yaml that may change while it is used. Raises as load() does when it cannot be read at first."""

    def __init__(self, path: Path) -> None:
        self.path, self._stamp = path, _stamp(path)
        self.policy = load(path)

    def changed(self) -> ModelPolicy | None:
        """The policy in it, where it was written since the last call; raises as load() does, once for each writing."""
        stamp = _stamp(self.path)
        if stamp in (self._stamp, None):  # an editor may be between removing and writing it
            return None
        self._stamp = stamp
        self.policy = load(self.path)
        return self.policy


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


@dataclass
class _Places:
    """Where each key of a file stands."""

    root: type[BaseModel]
    lines: dict[Place, int] = field(default_factory=dict)
    _twice: dict[Place, Problem] = field(default_factory=dict)

    def read(self, node: yaml.MappingNode, section: type[BaseModel], place: Place) -> Iterator[Problem]:
        """Remembers the lines, and answers keys that are not known or stand twice."""
        for name, value, here in self._named(node, place):
            known = section.model_fields.get(name)
            if here in self._twice:
                yield self._twice[here]
            elif known is None:
                yield Problem(self.lines[here], ".".join(here), _unknown(name, section))
            elif not isinstance(value, yaml.MappingNode):
                continue  # where it should be one, pydantic says so
            elif inner := _section(known):
                yield from self.read(value, inner, here)
            elif inner := _entries(known):
                yield from self._read_entries(value, inner, here)

    def _read_entries(self, node: yaml.MappingNode, entry: type[BaseModel], place: Place) -> Iterator[Problem]:
        """The same of a mapping whose names are free."""
        for _, value, here in self._named(node, place):
            if here in self._twice:
                yield self._twice[here]
            elif isinstance(value, yaml.MappingNode):
                yield from self.read(value, entry, here)

    def _named(self, node: yaml.MappingNode, place: Place) -> Iterator[tuple[str, yaml.Node, Place]]:
        for key, value in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            here = (*place, name)
            if here in self.lines:
                what = f"stands twice, first in line {self.lines[here]}: leave one out"
                self._twice[here] = Problem(line, ".".join(here), what)
            self.lines.setdefault(here, line)
            yield name, value, here

    def problem(self, found: dict[str, Any]) -> Problem:
        """What pydantic found, where it stands; of a key that is missing, where its section begins."""
        place: Place = tuple(str(part) for part in found["loc"])
        line = next((self.lines[place[:n]] for n in range(len(place), 0, -1) if place[:n] in self.lines), 1)
        what = found["msg"].removeprefix("Value error, ")
        return Problem(line, ".".join(place), f"{what} (it is {found['input']!r}){_meaning(self.root, place)}")


def _section(known: FieldInfo) -> type[BaseModel] | None:
    kind = known.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _entries(known: FieldInfo) -> type[BaseModel] | None:
    """Of a mapping from free names: what stands under each."""
    of = get_args(known.annotation)
    named = get_origin(known.annotation) is Mapping and isinstance(of[1], type) and issubclass(of[1], BaseModel)
    return of[1] if named else None


def _unknown(name: str, section: type[BaseModel]) -> str:
    near = difflib.get_close_matches(name, section.model_fields, 1)
    advice = f"did you mean `{near[0]}`?" if near else f"there are: {', '.join(section.model_fields)}"
    return f"no such key; {advice}"


def _meaning(section: type[BaseModel], place: Place) -> str:
    """What a key stands for, and its default."""
    free, known = False, None
    for name in place:
        if free:  # a name of the user's own
            known, free = None, False
            continue
        known = section.model_fields.get(name)
        if known is None:
            return ""
        if inner := _section(known) or _entries(known):
            section, free = inner, _section(known) is None
    if known is None or free or _section(known):
        return ": write a mapping of keys, indented below it"
    default = "" if known.is_required() else f"; by default {_scalar(known.get_default(call_default_factory=True))}"
    return f": {known.description}{default}"


def _scalar(value: object) -> str:
    """A value as YAML writes it, on one line."""
    if isinstance(value, BaseModel):
        value = dict(value)
    elif isinstance(value, Mapping):
        value = {name: dict(each) if isinstance(each, BaseModel) else each for name, each in value.items()}
    if isinstance(value, timedelta):
        seconds = value.total_seconds()
        unit, size = next(((u, s) for u, s in _UNITS if seconds and seconds % s == 0), ("s", 1))
        return f"{seconds / size:g}{unit}"
    if isinstance(value, float):  # YAML 1.1 takes 1e-05 for a text
        return repr(value) if "e" not in repr(value) else f"{value:.1e}"
    text: str = yaml.safe_dump(value, default_flow_style=True, width=1_000_000, allow_unicode=True)
    return text.removesuffix("...\n").strip()


def render(policy: ModelPolicy, explained: bool = True) -> str:
    """A policy as the text of a model.yaml; `explained`: with what each key stands for."""
    head = "# What is wanted of this model, and by what it is decided about it. `pawl model check FILE` looks at it,\n"
    head += "# `pawl model apply FILE` makes it valid from then on, without a restart.\n"
    return (head if explained else "") + "\n".join(_lines(policy, explained, 0)) + "\n"


def _lines(section: BaseModel, explained: bool, depth: int) -> Iterator[str]:
    indent = "  " * depth
    for name, known in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, BaseModel) and not known.description:  # what is described as a whole fits on a line
            if explained:
                yield ""
                yield f"{indent}# {(type(value).__doc__ or name).strip().splitlines()[0]}"
            yield f"{indent}{name}:"
            yield from _lines(value, explained, depth + 1)
            continue
        if explained and known.description:
            yield f"{indent}# {known.description}"
        yield f"{indent}{name}: {_scalar(value)}"


def differences(before: BaseModel, after: BaseModel, place: Place = ()) -> Iterator[tuple[str, str, str]]:
    """(key, value before, value after), as YAML writes them, of all that differs."""
    for name in type(after).model_fields:
        one, other = getattr(before, name), getattr(after, name)
        if isinstance(one, BaseModel) and isinstance(other, BaseModel):
            yield from differences(one, other, (*place, name))
        elif one != other:
            yield ".".join((*place, name)), _scalar(one), _scalar(other)
