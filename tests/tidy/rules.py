"""The rules of the house, as functions from one source file to complaints about it.

A complaint names the place and what to write instead. `test_rules.py` plants a violation of each
rule and sees it caught; `test_house.py` holds the repository to all of them.
"""

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.tidy.repository import Source

Rule = Callable[[Source], Iterator[str]]

FUNCTION_LINES_MAX = 60
FILE_LINES_MAX = 500
COLUMNS_MAX = 100
# These files must be able to say the words they forbid.
ITSELF = ("tests/tidy/rules.py", "tests/tidy/test_rules.py")

CLOCK = "take `now` as a parameter, or ask the Clock port"
IDS = "ask the Ids port; in the sdk, trypact.ids"
EVENT = "wait for the event itself: a signal, a condition, virtual time"

# Dotted name -> what to use instead, in product code.
BANNED = {
    "time.time": CLOCK,
    "time.time_ns": CLOCK,
    "datetime.datetime.now": CLOCK,
    "datetime.datetime.utcnow": CLOCK,
    "datetime.datetime.today": CLOCK,
    "datetime.date.today": CLOCK,
    "uuid.uuid1": IDS,
    "uuid.uuid4": IDS,
    "time.sleep": "wait on an Event with a time-out",
    "print": "log with structlog, or click.echo for the command line",
    "logging.getLogger": "structlog.get_logger",
    "pickle.loads": "msgspec",
    "pickle.dumps": "msgspec",
    "eval": "a table",
    "exec": "a table",
    "os._exit": "raise; only a failpoint may die like this",
}
# The places that are what the others are told to use.
APPROVED = {
    "coordinator/trypact_coordinator/runtime/clock.py": {"time.time", "time.time_ns"},
    "coordinator/trypact_coordinator/runtime/failpoints.py": {"os._exit"},
    "coordinator/trypact_coordinator/runtime/ids.py": {"time.time_ns"},
    # Where a journal has no server, this is what the Clock follows.
    "coordinator/trypact_coordinator/journal/wall_clock.py": {"time.time_ns"},
    "sdk/trypact/clock.py": {"time.time_ns"},
}
# Where an event loop of our own makes sleeping take no time.
VIRTUAL_TIME = ("tests/sim/",)
# A library logs to `logging`, so that it is its user's choice what becomes of it.
LOGGING_IS_RIGHT_IN = ("sdk/", "participants/")

IMPURE = {
    "asyncio", "datetime", "grpc", "io", "logging", "os", "pathlib", "psycopg", "random",
    "secrets", "socket", "sqlite3", "structlog", "subprocess", "threading", "time", "uuid",
}  # fmt: skip
BANNED_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "managers", "base"}


# ---------------------------------------------------------------- sizes


def functions_are_short(source: Source) -> Iterator[str]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES_MAX:
                what = f"{node.name} has {lines} lines, at most {FUNCTION_LINES_MAX}: split it"
                yield source.at(node, what)


def files_are_short(source: Source) -> Iterator[str]:
    if len(source.lines) > FILE_LINES_MAX:
        what = f"{len(source.lines)} lines, at most {FILE_LINES_MAX}: it is two rooms"
        yield f"{source.path}:1: {what}"


def lines_are_narrow(source: Source) -> Iterator[str]:
    for number, line in enumerate(source.lines, 1):
        if len(line) > COLUMNS_MAX:
            yield f"{source.path}:{number}: {len(line)} columns, at most {COLUMNS_MAX}"


# ---------------------------------------------------------------- names and words


def modules_open_with_a_paragraph(source: Source) -> Iterator[str]:
    if source.tree.body and not ast.get_docstring(source.tree):
        yield f"{source.path}:1: has no docstring: say what it is, why, what it must never do"


def modules_have_a_name_of_their_own(source: Source) -> Iterator[str]:
    for part in Path(source.path).with_suffix("").parts:
        if part in BANNED_NAMES:
            yield f"{source.path}:1: {part!r} says nothing: name it after its one duty"


def test_names_are_sentences(source: Source) -> Iterator[str]:
    for node in ast.walk(source.tree):
        if (
            isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            and node.name.startswith("test_")
            and len(node.name.split("_")) < 4
        ):
            yield source.at(node, f"{node.name} is no sentence: say what holds")


def nothing_is_left_for_later(source: Source) -> Iterator[str]:
    words = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
    if source.path.startswith(ITSELF):
        return
    for number, line in enumerate(source.lines, 1):
        if found := words.search(line):
            yield f"{source.path}:{number}: {found[0]}: do it, or leave it out"


def silenced_checks_say_which(source: Source) -> Iterator[str]:
    bare = re.compile(r"#\s*(type:\s*ignore(?!\[)|noqa(?!:))")
    if source.path.startswith(ITSELF):
        return
    for number, line in enumerate(source.lines, 1):
        if found := bare.search(line):
            yield f"{source.path}:{number}: `{found[0]}` silences everything: name the check"


# ---------------------------------------------------------------- calls


def imported_names(tree: ast.Module) -> dict[str, str]:
    """Local name -> the dotted name it stands for."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                local = alias.asname or alias.name.partition(".")[0]
                names[local] = alias.name if alias.asname else local
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return names


def dotted(node: ast.expr, names: dict[str, str]) -> str:
    """The full name of what an expression refers to, or ""."""
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        owner = dotted(node.value, names)
        return f"{owner}.{node.attr}" if owner else ""
    return ""


def references(source: Source) -> Iterator[tuple[ast.expr, str]]:
    names = imported_names(source.tree)
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Load):
            yield node, dotted(node, names)


def banned_calls_have_a_better_way(source: Source) -> Iterator[str]:
    """In product code; a mere mention counts too, since it can be passed on and called."""
    if not source.is_product:
        return
    approved = APPROVED.get(source.path, set())
    for node, name in references(source):
        if name == "logging.getLogger" and source.path.startswith(LOGGING_IS_RIGHT_IN):
            continue
        if name in BANNED and name not in approved:
            yield source.at(node, f"{name} -> {BANNED[name]}")


def asserts_stay_in_tests(source: Source) -> Iterator[str]:
    if not source.is_test:
        for node in ast.walk(source.tree):
            if isinstance(node, ast.Assert):
                what = "assert vanishes with -O -> invariant(...), or raise a named error"
                yield source.at(node, what)


def tests_never_sleep_to_wait(source: Source) -> Iterator[str]:
    if not source.is_test:
        return
    names = imported_names(source.tree)
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call):
            name = dotted(node.func, names)
            virtual = source.path.startswith(VIRTUAL_TIME) or _is_zero(node)
            if name == "time.sleep" or (name == "asyncio.sleep" and not virtual):
                yield source.at(node, f"{name} -> {EVENT}")


def _is_zero(call: ast.Call) -> bool:
    first = call.args[0] if call.args else None
    return isinstance(first, ast.Constant) and first.value == 0


def tests_are_never_skipped(source: Source) -> Iterator[str]:
    if not source.is_test:
        return
    banned = re.compile(r"pytest\.(mark\.)?(skip|skipif|xfail|importorskip)$")
    for node, name in references(source):
        if banned.match(name):
            yield source.at(node, f"{name} -> make it run, or take it out")


# ---------------------------------------------------------------- the core


def core_is_pure(source: Source) -> Iterator[str]:
    """No waiting, no I/O, no clock, no randomness, no logging: whatever varies is an argument."""
    if not source.is_core:
        return
    for node in ast.walk(source.tree):
        if isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith):
            yield source.at(node, "waits; only the runtime may")
        modules = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = [node.module or ""]
        for module in modules:
            if module.partition(".")[0] in IMPURE:
                yield source.at(node, f"imports {module}; take what varies as an argument")
    for node, name in references(source):
        if name in ("open", "input"):
            yield source.at(node, f"{name} -> the runtime does I/O")


PYTHON_RULES: tuple[Rule, ...] = (
    functions_are_short,
    files_are_short,
    lines_are_narrow,
    modules_open_with_a_paragraph,
    modules_have_a_name_of_their_own,
    test_names_are_sentences,
    nothing_is_left_for_later,
    silenced_checks_say_which,
    banned_calls_have_a_better_way,
    asserts_stay_in_tests,
    tests_never_sleep_to_wait,
    tests_are_never_skipped,
    core_is_pure,
)
# For everything else that is written by hand.
TEXT_RULES: tuple[Rule, ...] = (lines_are_narrow, nothing_is_left_for_later)
TEXT_SUFFIXES = (".sh", ".toml", ".proto", ".sql", ".yaml", ".yml", "Makefile", "run")
