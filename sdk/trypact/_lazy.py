"""Exported names whose modules need a library of an extra: imported when first asked for."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any

# A library -> what to install for it: mostly an extra of this package.
_BROUGHT_BY = {
    "aiosqlite": "aiosqlite",
    "nats": "trypact[nats]",
    "opentelemetry": "trypact[otel]",
    "psycopg": "trypact[psycopg]",
    "redis": "trypact[redis]",
    "sqlalchemy": "trypact[sqlalchemy]",
}


def lazily(package: str, modules: Mapping[str, str]) -> Callable[[str], Any]:
    """Return the `__getattr__` of a package, as https://peps.python.org/pep-0562/ has it.

    Args:
        package: its name.
        modules: an exported name -> the module of the package that defines it.
    """

    def found(name: str) -> Any:
        module = modules.get(name)
        if module is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        with from_extra(f"{package}.{name}"):
            return getattr(import_module(f"{package}.{module}"), name)

    return found


@contextmanager
def from_extra(what: str, extra: str = "") -> Iterator[None]:
    """Import inside; a library that is missing is a ModuleNotFoundError that says what to install.

    Args:
        what: that is imported.
        extra: that brings all its libraries; found by the library if not given.
    """
    try:
        yield
    except ModuleNotFoundError as missing:
        library = (missing.name or "").partition(".")[0]
        brings = f"trypact[{extra}]" if extra else _BROUGHT_BY.get(library)
        if brings is None:
            raise
        raise ModuleNotFoundError(
            f"{what} needs {library}; install it with pip install '{brings}'",
            name=missing.name,
        ) from missing
