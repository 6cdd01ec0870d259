"""What the pages say is so: their links lead somewhere and their commands exist."""

import re
from pathlib import Path

import pytest

from tests.tidy.commands import make_targets, misunderstood, shell_commands, wrong_with
from tests.tidy.repository import ROOT, Source, read, texts

# Pages that come with a fresh clone and that a newcomer reads first.
FRONT = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/README.md")


def pages() -> tuple[Source, ...]:
    return texts(".md")


def anchors(page: Source) -> set[str]:
    """The anchors GitHub gives to a page's headings."""
    titles = re.findall(r"^#+ +(.*)$", page.text, re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", title.replace("`", "").lower()).strip().replace(" ", "-")
        for title in titles
    }


def broken_links(page: Source) -> list[str]:
    """Relative links of a page that lead nowhere."""
    prose = re.sub(r"^```.*?^```", "", page.text, flags=re.MULTILINE | re.DOTALL)
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)|<img[^>]* src=\"([^\"]+)\"", prose):
        link = target[0] or target[1]
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        path = (ROOT / page.path).parent / name if name else ROOT / page.path
        if not path.exists():
            broken.append(f"{page.path}: {link} leads nowhere")
        elif anchor and anchor not in anchors(read(str(path.resolve().relative_to(ROOT)))):
            broken.append(f"{page.path}: {link}: no such heading")
    return broken


def test_the_front_pages_are_there() -> None:
    assert [name for name in FRONT if not (ROOT / name).is_file()] == []


def used_twice(pattern: str, *sources: Source) -> list[str]:
    """What two of the programs take for themselves, such as a port."""
    takes: dict[str, set[str]] = {}
    for source in sources:
        for taken in re.findall(pattern, source.text):
            takes.setdefault(taken, set()).add(source.path)
    return [f"{taken}: {sorted(who)}" for taken, who in takes.items() if len(who) > 1]


def test_no_two_programs_take_one_port_or_file() -> None:
    examples = [source for source in texts(".py") if source.path.startswith("examples/")]
    guides = [page for page in pages() if page.path.startswith(("docs/how-to", "docs/tutorial"))]

    assert used_twice(r"\.run\(\s*\"127\.0\.0\.1:([1-9]\d*)", *examples, *guides) == []
    assert used_twice(r"\"([\w.]+\.db)\"", *examples) == []
    one, other = Source("a", 'x.run("127.0.0.1:1")'), Source("b", 'y.run("127.0.0.1:1")')
    assert used_twice(r"127\.0\.0\.1:(\d+)", one, other) == ["1: ['a', 'b']"]


def test_every_link_leads_somewhere() -> None:
    broken = [line for page in pages() for line in broken_links(page)]

    assert not broken, "\n".join(["", *broken])


def test_a_broken_link_is_noticed() -> None:
    page = Source("docs/x.md", "[a](nowhere.md) [b](../README.md#nothing) [c](../README.md)")

    assert broken_links(page) == [
        "docs/x.md: nowhere.md leads nowhere",
        "docs/x.md: ../README.md#nothing: no such heading",
    ]


def test_every_command_of_every_page_exists() -> None:
    wrong = [
        f"{page.path}: `{line}`: {what}"
        for page in pages()
        for line in shell_commands(page.text)
        if (what := wrong_with(line))
    ]

    assert not wrong, "\n".join(["", *wrong])


@pytest.mark.parametrize(
    "line",
    [
        "make nothing",
        "trypact nothing",
        "trypact tx nothing",
        "trypact serve --no-such-option 1",
        "trypact tx list -o ids | trypact tx nothing -",
        ".venv/bin/pytest tests/nothing",
    ],
)
def test_a_command_that_does_not_exist_is_noticed(line: str) -> None:
    assert wrong_with(line)


@pytest.mark.parametrize(
    "line", ["make demo", "FOO=1 make test ARGS=-x", "trypact --help", "trypact serve --journal x"]
)
def test_a_command_that_exists_is_left_alone(line: str) -> None:
    assert wrong_with(line) == ""


def test_an_option_without_its_value_is_noticed() -> None:
    assert "requires an argument" in misunderstood(["serve", "--journal"])


def test_every_make_target_is_explained_by_make_help() -> None:
    explained = set(re.findall(r"^([a-z-]+):.*## \S", read("Makefile").text, re.MULTILINE))

    assert make_targets() == explained


def test_the_glossary_explains_each_word_once() -> None:
    terms = re.findall(
        r"^\| \*\*(.+?)\*\* \|", (ROOT / "docs/glossary.md").read_text(), re.MULTILINE
    )
    words = [word for term in terms for word in term.split(", ")]

    assert words
    assert [word for word in words if words.count(word) > 1] == []


def test_decisions_are_numbered_without_a_gap() -> None:
    names = sorted(path.name for path in (ROOT / "docs/decisions").glob("[0-9]*.md"))

    assert [name[:4] for name in names] == [f"{n:04}" for n in range(1, len(names) + 1)]


@pytest.mark.parametrize("section", ["Context", "Decision", "Consequences"])
def test_every_decision_says_why_what_and_what_follows(section: str) -> None:
    paths = sorted((ROOT / "docs/decisions").glob("[0-9]*.md"))
    lacking = [path.name for path in paths if f"\n## {section}\n" not in path.read_text()]

    assert paths
    assert lacking == []


def test_every_page_of_docs_is_in_its_index() -> None:
    index = (ROOT / "docs/README.md").read_text()
    # Those of one kind have an index of their own.
    listed = ("docs/README.md", "docs/reference/errors/", "docs/reference/sdk/")
    left = [
        page.path
        for page in pages()
        if page.path.startswith("docs/")
        and not page.path.startswith(listed)
        and f"]({page.path.removeprefix('docs/')})" not in index
    ]

    assert left == []


def test_every_page_of_docs_can_be_reached_from_its_index() -> None:
    reached, queue = set(), [ROOT / "docs/README.md"]
    while queue:
        page = queue.pop()
        if page in reached:
            continue
        reached.add(page)
        for link in re.findall(r"\]\(([^)#\s]+\.md)[^)]*\)", page.read_text()):
            target = Path(page.parent / link).resolve()
            if target.is_relative_to(ROOT / "docs") and target.is_file():
                queue.append(target)
    lost = {ROOT / page.path for page in pages() if page.path.startswith("docs/")} - reached

    assert lost == set()
