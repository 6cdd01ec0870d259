"""Write the reference of the SDK from its docstrings: `python tools/sdk_reference.py [--check]`.

`docs/reference/sdk.md` lists every exported name, and each public module has a page in
`docs/reference/sdk/` with the signature and the docstring of all it exports. A name without a
docstring is a failure here.
"""

import ast
import importlib
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from pages import GENERATED, written_or_checked
from trypact.errors import TrypactError

# Every module of the SDK that its users import from.
MODULES = (
    "trypact",
    "trypact.context",
    "trypact.errors",
    "trypact.fence",
    "trypact.http",
    "trypact.inbox",
    "trypact.interceptors",
    "trypact.observed",
    "trypact.otel",
    "trypact.outbox",
    "trypact.reporting",
    "trypact.serving",
    "trypact.testing",
)
COLUMNS_MAX = 92
# What changes how a method is called.
DECORATORS_SHOWN = {"asynccontextmanager", "classmethod", "contextmanager", "staticmethod"}

HEAD = """\
# The SDK

Every name that `trypact` and its public modules export. What needs an extra is imported when it is
first asked for, so `import trypact` stays light. The how-to pages say what to do with it:
[the map](../README.md).

"""


def _errors() -> list[Any]:
    return [name.value for name in exported("trypact.errors")]


@dataclass(frozen=True)
class Name:
    """An exported name and what it stands for."""

    module: str
    name: str
    value: Any

    @property
    def doc(self) -> str:
        if isinstance(self.value, ModuleType) or callable(self.value):
            return inspect.getdoc(self.value) or ""
        return _doc_of_value(sys.modules[type(self.value).__module__], self.name)

    @property
    def summary(self) -> str:
        """The first paragraph of its docstring, or what it is, for a cell of a table."""
        if not self.is_documented:
            return f"`{_spelled(self.value)}`".replace("|", "\\|")
        return " ".join(self.doc.partition("\n\n")[0].split()).replace("|", "\\|")

    @property
    def is_documented(self) -> bool:
        """Whether it has a docstring of its own; a union of types has none."""
        defined = getattr(self.value, "__module__", "")
        return isinstance(self.value, ModuleType) or defined.startswith("trypact")

    @property
    def home(self) -> str:
        """The module whose page has all about it."""
        if isinstance(self.value, ModuleType):
            return self.value.__name__
        defined = getattr(self.value, "__module__", "")
        if defined not in MODULES and self.value in _errors():
            return "trypact.errors"
        return defined if defined in MODULES else self.module

    @property
    def link(self) -> str:
        if isinstance(self.value, ModuleType):
            return f"{self.home}.md"
        return f"{self.home}.md#{self.name.lower()}"


def exported(module_name: str) -> list[Name]:
    """Return what a module exports; without `__all__`, what it defines or imports `as` itself."""
    module = importlib.import_module(module_name)
    names = getattr(module, "__all__", None)
    if names is None:
        defined = [
            name
            for name, value in vars(module).items()
            if not name.startswith("_") and getattr(value, "__module__", "") == module_name
        ]
        names = [*defined, *_passed_on(module)]
    return [Name(module_name, name, getattr(module, name)) for name in names]


def _passed_on(module: ModuleType) -> list[str]:
    """Return the names that a module imports to export them: `import Refuse as Refuse`."""
    imports = (node for node in ast.walk(_source(module)) if isinstance(node, ast.ImportFrom))
    aliases = (alias for node in imports for alias in node.names)
    return [alias.name for alias in aliases if alias.asname == alias.name]


def _doc_of_value(module: ModuleType, name: str) -> str:
    """Return the comment that stands above the assignment of a name."""
    found = re.search(rf"((?:^# .*\n)+){name}\b.*=", inspect.getsource(module), re.MULTILINE)
    return re.sub(r"^# ", "", found[1], flags=re.MULTILINE).strip() if found else ""


# ---------------------------------------------------------------- signatures


def _spelled(value: Any) -> str:
    """Write a union of types as its module would."""
    return re.sub(r"\b(?:\w+\.)+(\w+)", r"\1", str(value))


def signature(node: ast.FunctionDef | ast.AsyncFunctionDef, name: str, scope: Any) -> str:
    """Write the head of a function; without `self`, and a class by its `__init__`."""
    arguments = _Constants(scope).visit(node.args)
    parts = _parameters(arguments)
    if parts and re.match(r"(self|cls)\b", parts[0]):
        parts = parts[1:]
        if parts and parts[0] == "/":
            parts = parts[1:]
    word = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
    if node.name == "__init__":
        word = "class"
    returns = f" -> {_annotation(node.returns)}" if node.returns and word != "class" else ""
    line = f"{word} {name}({', '.join(parts)}){returns}"
    if len(line) <= COLUMNS_MAX:
        return line
    inside = "".join(f"    {part},\n" for part in parts)
    return f"{word} {name}(\n{inside}){returns}"


class _Constants(ast.NodeTransformer):
    """Puts the values of a module's constants where their names stand as defaults."""

    def __init__(self, scope: Any) -> None:
        self._scope = scope

    def visit_arguments(self, node: ast.arguments) -> ast.arguments:
        node.defaults = [self._value(default) for default in node.defaults]
        node.kw_defaults = [default and self._value(default) for default in node.kw_defaults]
        return node

    def _value(self, default: ast.expr) -> ast.expr:
        if isinstance(default, ast.Name):
            value = self._scope.get(default.id)
            if isinstance(value, int | float | str):
                return ast.Constant(value)
        return default


def _parameters(arguments: ast.arguments) -> list[str]:
    """Return the parameters one by one, as they would be written."""
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults = [None] * (len(positional) - len(arguments.defaults)) + list(arguments.defaults)
    parts = [_parameter(a, d) for a, d in zip(positional, defaults, strict=True)]
    if arguments.posonlyargs:
        parts.insert(len(arguments.posonlyargs), "/")
    if arguments.vararg:
        parts.append(f"*{_parameter(arguments.vararg, None)}")
    elif arguments.kwonlyargs:
        parts.append("*")
    named = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    parts += [_parameter(a, d) for a, d in named]
    if arguments.kwarg:
        parts.append(f"**{_parameter(arguments.kwarg, None)}")
    return parts


def _parameter(argument: ast.arg, default: ast.expr | None) -> str:
    given = f" = {ast.unparse(default)}" if default else ""
    if argument.annotation is None:
        return argument.arg + given.replace(" ", "")
    return f"{argument.arg}: {_annotation(argument.annotation)}{given}"


def _annotation(node: ast.expr) -> str:
    """Write a type; one that is quoted, because it is defined later, is a type all the same."""
    return re.sub(r"'([^']*)'", r"\1", ast.unparse(node))


# ---------------------------------------------------------------- pages


def page(module_name: str) -> str:
    module = importlib.import_module(module_name)
    parts = [GENERATED + f"# {module_name}\n", prose(_documented(module_name, module.__doc__))]
    for name in exported(module_name):
        if name.home != module_name:
            parts.append(f"\n## {name.name}\n\n{name.summary} See [{name.home}]({name.link}).\n")
        elif not name.is_documented:
            parts.append(
                f"\n## {name.name}\n\n```python\n{name.name} = {_spelled(name.value)}\n```\n"
            )
        else:
            parts.append("".join(_entry(name)))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(parts)).rstrip("\n") + "\n"


def _entry(name: Name) -> Iterator[str]:
    yield f"\n## {name.name}\n\n"
    value = name.value
    if inspect.isclass(value):
        yield from _class_entry(name, value)
    elif inspect.isfunction(value):
        tree = _tree(value)
        yield _code(signature(tree, name.name, value.__globals__))
        yield prose(_documented(name.name, inspect.getdoc(value)))
    else:
        yield prose(_documented(name.name, name.doc))


def _class_entry(name: Name, value: type) -> Iterator[str]:
    tree = _tree(value)
    if inits := [node for node in tree.body if getattr(node, "name", "") == "__init__"]:
        scope = vars(sys.modules[value.__module__])
        shown = inits[:-1] or inits
        heads = [signature(init, name.name, scope) for init in shown]
        # What only passes its arguments on is not for its users to make.
        yield _code("\n".join(head for head in heads if "(*" not in head))
    elif fields := _fields(value, tree):
        yield _code(f"class {name.name}:\n{fields}")
    yield prose(_documented(name.name, inspect.getdoc(value)))
    if issubclass(value, TrypactError) and value.code:
        yield f"\nIts reason is [`{value.code}`](../errors/{value.code}.md).\n"
    for owner, methods in _methods(value):
        yield from _method_entry(name.name, owner, methods)


def _method_entry(
    class_name: str, owner: type, methods: list[ast.FunctionDef | ast.AsyncFunctionDef]
) -> Iterator[str]:
    first, last = methods[0], methods[-1]
    decorators = {ast.unparse(decorator) for decorator in last.decorator_list}
    is_property = bool(decorators & {"property", "cached_property"})
    yield f"\n### {class_name}.{first.name}\n\n"
    if is_property:
        yield _code(f"{first.name}: {_annotation(last.returns)}")
    else:
        scope = vars(sys.modules[owner.__module__])
        heads = [signature(method, method.name, scope) for method in methods[:-1] or methods]
        kept = sorted(f"@{name}" for name in decorators & DECORATORS_SHOWN)
        yield _code("\n".join([*kept, *heads]))
    docs = (ast.get_docstring(method) for method in methods)
    told = next(filter(None, docs), None) or inspect.getdoc(getattr(owner, first.name))
    yield prose(_documented(f"{class_name}.{first.name}", told))


def _methods(
    value: type,
) -> Iterator[tuple[type, list[ast.FunctionDef | ast.AsyncFunctionDef]]]:
    """Yield the public methods of a class, those of its private parents too, with overloads."""
    seen: set[str] = set()
    for owner in value.__mro__:
        if not owner.__module__.startswith("trypact"):
            continue
        if owner is not value and owner.__name__ in _exported_names():
            continue
        found: dict[str, list[ast.FunctionDef | ast.AsyncFunctionDef]] = {}
        for node in _tree(owner).body:
            public = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            if public and not node.name.startswith("_") and node.name not in seen:
                found.setdefault(node.name, []).append(node)
        seen |= found.keys()
        for methods in found.values():
            yield owner, methods


def _exported_names() -> set[str]:
    return {name.name for module in MODULES for name in exported(module)}


def _fields(value: type, tree: ast.ClassDef) -> str:
    """Return the public fields of a class as they stand in its source, with their comments."""
    lines = textwrap.dedent(inspect.getsource(value)).splitlines()
    shown: list[str] = []
    for node in tree.body:
        if not isinstance(node, ast.AnnAssign | ast.Assign):
            continue
        target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
        if ast.unparse(target).startswith("_") or "ClassVar" in ast.unparse(node):
            continue
        if issubclass(value, BaseException):
            continue
        first = node.lineno - 1
        while lines[first - 1].lstrip().startswith("#"):
            first -= 1
        shown += lines[first : node.end_lineno]
    return "\n".join(shown)


def _tree(value: Any) -> Any:
    return _source(value).body[0]


def _source(value: Any) -> ast.Module:
    return ast.parse(textwrap.dedent(inspect.getsource(value)))


def _documented(what: str, doc: str | None) -> str:
    if not doc:
        sys.exit(f"{what} has no docstring: say what it means, its units, what it raises")
    return inspect.cleandoc(doc)


def _code(text: str) -> str:
    return text and f"```python\n{text}\n```\n\n"


# ---------------------------------------------------------------- docstrings


def prose(doc: str) -> str:
    """Return a docstring as Markdown: its `Args:` as a list, what is indented as code."""
    blocks = [_block(block) for block in re.split(r"\n\n+(?=\S)", doc)]
    return "\n\n".join(blocks) + "\n"


def _block(block: str) -> str:
    if block.startswith(">>>"):
        return _fenced(block)
    head, _, rest = block.partition("\n")
    if re.fullmatch(r"[A-Z]\w+:", head) and rest.startswith("    "):
        items, _, example = textwrap.dedent(rest).partition("\n\n")
        listed = f"**{head}**\n\n{_list(items)}"
        return f"{listed}\n\n{_fenced(example)}" if example else listed
    first = re.search(r"^ {4}", block, re.MULTILINE)
    if first is None:
        return block
    before, indented = block[: first.start()].strip(), block[first.start() :]
    code, after = _split_code(indented)
    return "\n\n".join(part for part in (before, _fenced(code), after) if part)


def _fenced(code: str) -> str:
    language = "text" if re.search(r"[├└]|^\s*trypact\[", code, re.MULTILINE) else "python"
    return f"```{language}\n{textwrap.dedent(code).strip()}\n```"


def _split_code(text: str) -> tuple[str, str]:
    """Split what is indented from what follows it at the margin."""
    lines = text.splitlines()
    end = next((n for n, line in enumerate(lines) if line and line[0] != " "), len(lines))
    after = "\n".join(lines[end:])
    return "\n".join(lines[:end]), _block(after) if after else ""


def _list(text: str) -> str:
    """Return `name: what it is` as a list, each with the lines that continue it."""
    items = re.split(r"\n(?=\S)", text.strip())
    return "\n".join(
        re.sub(r"^(\*{0,2}\w+(?:, \w+)*):", r"* `\1`:", re.sub(r"\n\s+", "\n  ", item))
        for item in items
    )


def index() -> str:
    parts = []
    for module in MODULES:
        names = exported(module)
        rows = [f"| [`{n.name}`](sdk/{n.link}) | {n.summary} |" for n in names]
        parts.append(
            f"## [{module}](sdk/{module}.md)\n\n| name | what it is |\n| --- | --- |\n"
            + "\n".join(rows)
            + "\n"
        )
    return GENERATED + HEAD + "\n".join(parts)


def pages() -> dict[str, str]:
    return {"sdk.md": index()} | {f"sdk/{module}.md": page(module) for module in MODULES}


if __name__ == "__main__":
    sys.exit(written_or_checked(__doc__, "docs/reference", pages(), whole="sdk/*.md"))
