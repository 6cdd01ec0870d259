"""What a service's functions must be like to be handlers, found out before a call does."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from trypact._handlers import takes_many
from trypact.call import Call


def name_of(handler: Any) -> str:
    """Return what a handler is called in an error."""
    return getattr(handler, "__qualname__", None) or type(handler).__name__


def is_async(function: Any) -> bool:
    """Whether calling it makes something to await."""
    return any(inspect.iscoroutinefunction(form) for form in _forms(function))


def require_handler(action: str, handler: Any, fence: Any, *, awaits: bool) -> None:
    """Raise TypeError for what cannot be called as a fence's handler is.

    Args:
        action: "participant.verb".
        handler: what somebody wants to serve it with.
        fence: who is going to call it.
        awaits: whether the fence awaits its handlers.
    """
    name, takes = name_of(handler), "calls" if takes_many(handler) else "call"
    form = "an `async def`" if awaits else "a plain function"
    allowed = f"allowed: {form} of ({takes}, connection)"
    if not callable(handler) or isinstance(handler, type):
        raise TypeError(f"{action}: {name} is no function; {allowed}")
    fenced = type(fence).__name__
    if any(map(inspect.isasyncgenfunction, _forms(handler))) or (is_async(handler) and not awaits):
        raise TypeError(
            f"{action}: {name} is async, and {fenced} runs handlers on threads; {allowed}, or an "
            "async fence"
        )
    if any(map(inspect.isgeneratorfunction, _forms(handler))):
        raise TypeError(f"{action}: {name} is a generator, which would never run; {allowed}")
    if awaits and not is_async(handler):
        raise TypeError(
            f"{action}: {name} is not async, and {fenced} awaits handlers; {allowed}, or a fence "
            "that is not async"
        )
    if awaits and takes_many(handler):
        raise TypeError(
            f"{action}: {name} is set-based, and {fenced} answers one call at a time; allowed: an "
            "`async def` of (call, connection)"
        )
    try:
        signature = inspect.signature(handler)
    except (TypeError, ValueError):
        return  # one of C, which does not tell
    try:
        signature.bind(None, None)
    except TypeError:
        raise TypeError(f"{action}: {name} takes {signature}; {allowed}") from None
    if list(signature.parameters)[1:2] == [takes]:
        raise TypeError(f"{action}: {name} takes its {takes} second; {allowed}")


def _forms(handler: Any) -> tuple[Any, Any]:
    """Return what may be the function: itself, or what makes an object one that can be called."""
    return handler, type(handler).__call__


def request_of(action: str, said: Any, handlers: Sequence[Callable[..., Any]]) -> Any:
    """Return what payloads of an action are decoded to.

    That is what is said, or else what the handlers' own annotations say: `Reserve` for a
    `call: Call[Reserve]`; whatever JSON says where nobody says anything.

    Raises TypeError where two of them differ, and for an annotation that names what is not there
    or is no call.
    """
    found = {} if said is None else {"the action": said}
    for handler in handlers:
        annotated = _annotated(action, handler, required=said is None)
        if annotated is not None:
            found[name_of(handler)] = annotated
    names = list(found)
    for name in names[1:]:
        if _bare(found[name]) != _bare(found[names[0]]):
            raise TypeError(
                f"{action}: {names[0]} takes {_shown(found[names[0]])}, and {name} takes "
                f"{_shown(found[name])}; allowed: one request for all, `Call[...]` of the same"
            )
    return found[names[0]] if names else Any


def _annotated(action: str, handler: Any, *, required: bool) -> Any:
    """Return the request that the annotation of a handler's call names; None for none."""
    function = _function(handler)
    try:
        parameters = list(inspect.signature(handler).parameters.values())
    except (TypeError, ValueError):
        return None
    if not parameters or parameters[0].annotation is inspect.Parameter.empty:
        return None
    # This one only: the connection's may be imported for type checkers alone.
    only = SimpleNamespace(__annotations__={"call": parameters[0].annotation})
    names: Mapping[str, Any] = getattr(function, "__globals__", {})
    try:
        annotation = get_type_hints(only, dict(names))["call"]
    except NameError as error:
        if not required:
            return None
        raise TypeError(
            f"{action}: {name_of(handler)} takes a {parameters[0].annotation}, and {error}; "
            "allowed: a class of the module's own, or request=... beside it"
        ) from None
    whole, given = annotation, list if takes_many(handler) else Call
    fits = _may_be(annotation, given)
    if takes_many(handler):
        (annotation, *_) = get_args(annotation) or (Any,)
        fits = fits and _may_be(annotation, Call)
    if not fits:
        what, allowed = "call", "call: Call[...]"
        if takes_many(handler):
            what, allowed = "calls", "calls: Sequence[Call[...]]"
        raise TypeError(
            f"{action}: {name_of(handler)} takes a {_shown(whole)} where it is given its {what}; "
            f"allowed: {allowed}"
        )
    if get_origin(annotation) is not Call:
        return None
    (request,) = get_args(annotation)
    return None if request is Any or isinstance(request, TypeVar) else request


def _may_be(annotation: Any, given: type) -> bool:
    """Whether what is annotated so may be given that; what is no plain class may be anything."""
    wanted = get_origin(annotation) or annotation
    if wanted is Any or not isinstance(wanted, type) or getattr(wanted, "_is_protocol", False):
        return True
    return issubclass(given, wanted)


def _function(handler: Any) -> Any:
    """Return the function that a handler comes down to."""
    while isinstance(handler, partial):
        handler = handler.func
    handler = inspect.unwrap(handler)
    if inspect.isroutine(handler):
        return getattr(handler, "__func__", handler)
    return type(handler).__call__


def _bare(request: Any) -> Any:
    """Return a type without its parameters: a `dict[str, int]` is read as the `dict` it is."""
    return get_origin(request) or request


def _shown(request: Any) -> str:
    name = getattr(request, "__name__", None) or str(request)
    inside = ", ".join(map(_shown, get_args(request)))
    return f"{name}[{inside}]" if inside and "[" not in name else name
