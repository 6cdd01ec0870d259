"""Commands of other packages: found by their entry points, and told of without importing them.

An import may be slow, or fail for want of an extra; the list of commands must be neither. So what
a command says of itself is read in its source.
"""

import ast
from importlib.abc import InspectLoader
from importlib.machinery import PathFinder
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec

_GROUP = "trypact.commands"


def plugins() -> dict[str, EntryPoint]:
    """Return the commands that installed packages add, by name."""
    return {plugin.name: plugin for plugin in entry_points(group=_GROUP)}


def line_of(plugin: EntryPoint) -> str:
    """Return the first line of a command's docstring; whose command it is where there is none."""
    try:
        module = ast.parse(_source_of(plugin.module))
    except (ImportError, OSError, SyntaxError, ValueError):
        # Whoever asks for the command is told; the list of the others goes on.
        module = ast.Module([], [])
    for node in module.body:
        if isinstance(node, ast.FunctionDef) and node.name == plugin.attr:
            said = ast.get_docstring(node)
            if said:
                return said.partition("\n")[0]
    return f"Commands of {plugin.module.partition('.')[0]}."


def _source_of(module: str) -> str:
    """Return a module's source; nothing where there is none."""
    package, *below = module.split(".")
    # Asked for a dotted name, it would import what is above.
    spec = find_spec(package)
    for name in below:
        places = spec.submodule_search_locations if spec else None
        package = f"{package}.{name}"
        spec = PathFinder.find_spec(package, places or [])
    loader = spec.loader if spec else None
    return (loader.get_source(module) if isinstance(loader, InspectLoader) else None) or ""
