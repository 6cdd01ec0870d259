"""The Dockerfile: linted, unprivileged, built from pinned packages, and its commands exist."""

import json
import re
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tests.tidy.commands import misunderstood
from tests.tidy.repository import ROOT, files

DOCKERFILE = ROOT / "deploy/Dockerfile"
HADOLINT = Path(sys.executable).parent / "hadolint"


def instructions() -> list[tuple[str, str]]:
    """(keyword, the rest) of each instruction, continued lines joined."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    split = (line.split(None, 1) for line in text.splitlines() if line.strip())
    return [(keyword, rest.strip()) for keyword, rest in split]


def last(keyword: str) -> str:
    return [rest for name, rest in instructions() if name == keyword][-1]


def test_hadolint_finds_nothing() -> None:
    ran = subprocess.run(
        [HADOLINT, "--failure-threshold", "style", DOCKERFILE],
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_hadolint_would_find_something(tmp_path: Path) -> None:
    bad = tmp_path / "Dockerfile"
    bad.write_text("FROM debian\nRUN cd /tmp && apt-get install curl\n")
    ran = subprocess.run([HADOLINT, bad], capture_output=True, text=True, check=False)

    assert ran.returncode != 0


def test_it_runs_as_nobody_in_particular() -> None:
    user, _, group = last("USER").partition(":")

    assert int(user) > 0
    assert int(group) > 0


def test_every_package_is_pinned_by_hash() -> None:
    installs = [rest for name, rest in instructions() if name == "RUN" and "pip install" in rest]

    assert installs
    assert all("--require-hashes" in rest or "--no-deps" in rest for rest in installs)


def test_its_command_exists_and_binds_to_loopback_only() -> None:
    words = json.loads(last("CMD"))

    assert json.loads(last("ENTRYPOINT")) == ["trypact"]
    assert misunderstood(words) == ""
    assert "--insecure" not in words
    assert "--listen" not in words


def test_it_has_a_health_check_that_is_in_the_image() -> None:
    command = json.loads(last("HEALTHCHECK").partition("CMD")[2])
    copied = [rest.split() for name, rest in instructions() if name == "COPY"]

    assert ["deploy/healthcheck.py", command[1]] in copied


def sent_to_the_builder(path: str) -> bool:
    """Whether .dockerignore lets a path through: the last pattern that matches decides."""
    sent = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        pattern = line.removeprefix("!")
        parents = [path, *(str(parent) for parent in Path(path).parents)]
        if any(fnmatch(one, pattern) for one in parents) or (
            pattern.startswith("**/") and pattern[3:] in Path(path).parts
        ):
            sent = line.startswith("!")
    return sent


def test_what_is_copied_exists_and_reaches_the_builder() -> None:
    sources = [
        source
        for name, rest in instructions()
        if name == "COPY" and "--from" not in rest
        for source in rest.split()[:-1]
    ]

    assert len(sources) >= 7
    for source in sources:
        inside = [path for path in files() if path == source or path.startswith(f"{source}/")]
        assert inside, f"{source} does not exist"
        assert all(map(sent_to_the_builder, inside)), f"{source} is held back by .dockerignore"


@pytest.mark.parametrize(
    "path", [".git/config", "tests/tidy/rules.py", "deploy/.env", "trypact.db"]
)
def test_nothing_else_reaches_the_builder(path: str) -> None:
    assert not sent_to_the_builder(path)
