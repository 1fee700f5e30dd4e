"""The lock, the documents and the tree: complete, up to date, and free of any machine's names."""

import json
import re
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name
from support.project import ROOT, declared, locked, pyproject, tracked_files

from pawl_shared.topics import DAY_MS, FOR_EVER, TOPICS

SDKS = ROOT / "tests" / "sdks"

# Joined here, so that this file does not contain what it forbids.
REGISTRIES = [
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("registry", "npmjs", "org"),
        ("registry", "yarnpkg", "com"),
        ("repo1", "maven", "org"),
        ("repo", "maven", "apache", "org"),
        ("conda", "anaconda", "org"),
        ("deb", "debian", "org"),
        ("archive", "ubuntu", "com"),
    )
]
FOLDERS = ["/" + name + "/" for name in ("work", "root", r"home/[a-z][\w.-]*", r"Users/[A-Za-z][\w.-]*", "tmp/pawl")]
# A folder of a machine starts a path: not a part of a URL or of a longer relative path.
FORBIDDEN = re.compile(
    "|".join(re.escape(host) for host in REGISTRIES) + "|" + r"(?<![\w.~*/-])(?:" + "|".join(FOLDERS) + ")"
)


def text_files() -> list[tuple[str, str]]:
    files = []
    for path in tracked_files():
        content = path.read_bytes()
        if b"\0" not in content[:8192]:
            files.append((path.relative_to(ROOT).as_posix(), content.decode("utf-8", "replace")))
    return files


def test_no_file_names_a_registry_host_or_a_folder_of_one_machine() -> None:
    found = [
        f"{name}: {match.group()}"
        for name, text in text_files()
        if name != "LICENSE"
        for match in [FORBIDDEN.search(text)]
        if match
    ]
    assert not found


@pytest.mark.parametrize("text", ["see https://" + REGISTRIES[0], "open('/" + "root/x')", "=/" + "home/me/data"])
def test_what_is_forbidden_would_be_seen(text: str) -> None:
    assert FORBIDDEN.search(text)


@pytest.mark.parametrize("text", ["tests/" + "work/x", "~/.local/share/pawl", "https://example.com/" + "home/page"])
def test_what_is_allowed_is_not_reported(text: str) -> None:
    assert not FORBIDDEN.search(text)


def test_the_lock_pins_every_direct_dependency_within_its_bounds() -> None:
    versions = locked()
    for group, requirements in declared().items():
        for requirement in requirements:
            name = canonicalize_name(requirement.name)
            assert name in versions, f"{name} ({group or 'all'}) is not locked: run `make lock`"
            assert requirement.specifier.contains(versions[name], prereleases=True), f"{name}: run `make lock`"


def test_the_lock_has_no_direct_dependency_that_was_dropped() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    blocks = re.split(r"\n(?=[a-z0-9])", lock)
    direct = {
        canonicalize_name(block.partition("==")[0].partition("[")[0]) for block in blocks if "pawl (pyproject" in block
    }
    names = {canonicalize_name(requirement.name) for group in declared().values() for requirement in group}
    assert direct == names


@pytest.mark.parametrize(("folder", "at_least"), [(ROOT, 100), (SDKS, 50)])
def test_the_lock_names_no_host_and_hashes_everything(folder: Path, at_least: int) -> None:
    lock = (folder / "requirements.lock").read_text()
    assert "://" not in lock
    assert not re.search(r"^--(?!hash)", lock, re.MULTILINE)
    entries = re.split(r"\n(?=[a-z0-9])", lock)[1:]
    assert len(entries) > at_least
    assert not [entry.partition("\n")[0] for entry in entries if "--hash=sha256:" not in entry]


def test_the_locks_say_how_they_were_made() -> None:
    commands = [line for line in (ROOT / "Makefile").read_text().splitlines() if " pip compile " in line]
    for command, folder in zip(commands, (ROOT, SDKS), strict=True):
        options = command.partition("pip compile ")[2].removesuffix(" --quiet")
        assert f"uv pip compile {options}\n" in (folder / "requirements.lock").read_text()[:400]


def test_the_clients_that_tests_drive_are_locked() -> None:
    lines = (SDKS / "requirements.in").read_text().splitlines()
    wanted = {line.partition("[")[0] for line in lines if not line.startswith("#")}
    blocks = re.split(r"\n(?=[a-z0-9])", (SDKS / "requirements.lock").read_text())
    assert wanted == {block.partition("==")[0] for block in blocks if "-r requirements.in" in block}
    packages = json.loads((SDKS / "npm-shrinkwrap.json").read_text())["packages"]
    assert packages[""]["dependencies"] == json.loads((SDKS / "package.json").read_text())["dependencies"]
    assert all("integrity" in each and "resolved" not in each for name, each in packages.items() if name)


def test_every_direct_dependency_is_explained() -> None:
    rows = re.findall(r"^\| `([^`]+)` \|", (ROOT / "docs" / "dependencies.md").read_text(), re.MULTILINE)
    build = [re.split(r"[<>=~!\[]", line)[0] for line in pyproject()["build-system"]["requires"]]
    names = {canonicalize_name(requirement.name) for group in declared().values() for requirement in group}
    assert sorted(rows) == sorted(names | set(build))


def topic_rows() -> list[str]:
    rows = []
    for topic in TOPICS:
        keys = ", ".join(sorted({event.KEY for event in topic.events}))
        events = ", ".join(event.__name__ for event in topic.events)
        if topic.compacted:
            kept = "the latest of each key"
        else:
            kept = "for ever" if topic.retention_ms == FOR_EVER else f"{topic.retention_ms // DAY_MS} days"
        if not topic.internal:
            rows.append(f"| `{topic.name}` | {keys} | {topic.partitions} | {events} | {kept}")
    return rows


def test_the_topics_in_the_architecture_are_those_of_the_code() -> None:
    document = (ROOT / "docs" / "architecture.md").read_text()
    assert not [row for row in topic_rows() if row not in document]
    assert set(re.findall(r"^\| `(pawl\.[a-z-]+)` ", document, re.MULTILINE)) == {
        topic.name for topic in TOPICS if not topic.internal
    }


def test_every_target_of_the_makefile_has_a_line_of_help() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert targets
    for target in targets.group(1).split():
        assert re.search(rf"^{target}:.* ## \S", makefile, re.MULTILINE), target


def test_every_top_folder_stands_in_the_readme() -> None:
    tree = (ROOT / "README.md").read_text()
    folders = {path.relative_to(ROOT).parts[0] for path in tracked_files() if len(path.relative_to(ROOT).parts) > 1}
    assert not [folder for folder in sorted(folders) if f"{folder}/" not in tree]


def test_links_between_documents_lead_somewhere() -> None:
    broken = []
    for name, text in text_files():
        if name.endswith(".md"):
            for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
                if "://" not in link and not ((ROOT / name).parent / link).exists():
                    broken.append(f"{name}: {link}")
    assert not broken
