"""How actions are declared: with a class of handlers, or with a function for each operation."""

import difflib
import inspect
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar, overload

from trypact._handlers import Handler, HandlerT
from trypact.kinds import Kind, Operation

# What the handlers of each kind are called in a class.
METHODS: Mapping[Kind, Mapping[Operation, str]] = {
    Kind.TCC: {
        Operation.TRY: "try_",
        Operation.CONFIRM: "confirm",
        Operation.CANCEL: "cancel",
    },
    Kind.SAGA: {Operation.TRY: "try_", Operation.CANCEL: "cancel"},
}


class SagaHandlers(Protocol):
    """The two operations of a saga action."""

    def try_(self, call: Any, connection: Any, /) -> Any:
        """Do the work; what it returns is the branch's result."""
        ...

    def cancel(self, call: Any, connection: Any, /) -> Any:
        """Compensate the work. Never called where Try left nothing."""
        ...


class TccHandlers(Protocol):
    """The three operations of a tcc action."""

    def try_(self, call: Any, connection: Any, /) -> Any:
        """Reserve; what it returns is the branch's result."""
        ...

    def confirm(self, call: Any, connection: Any, /) -> Any:
        """Use the reservation."""
        ...

    def cancel(self, call: Any, connection: Any, /) -> Any:
        """Release the reservation. Never called where Try left nothing."""
        ...


TccT = TypeVar("TccT", bound="TccHandlers | type[TccHandlers]")
SagaT = TypeVar("SagaT", bound="SagaHandlers | type[SagaHandlers]")

# Raises TypeError for what can be no handler.
Require = Callable[[Any], None]
# Takes the handlers once they are complete.
Serve = Callable[[Mapping[Operation, Handler]], None]


class SagaFunctions:
    """A saga step made of functions: its Try, and its Cancel by the decorator `cancel`.

        @orders.saga("ship")
        def ship(call: Call[Ship], connection: Connection) -> Shipped: ...

        @ship.cancel
        def take_back(call: Call[Ship], connection: Connection) -> None: ...

    It can be called as its Try can.
    """

    kind = Kind.SAGA

    def __init__(self, action: str, try_: Handler, require: Require, serve: Serve) -> None:
        require(try_)
        self.action = action
        self._handlers: dict[Operation, Handler] = {Operation.TRY: try_}
        self._require = require
        self._serve = serve

    def __call__(self, call: Any, connection: Any, /) -> Any:
        """Call the Try itself."""
        return self._handlers[Operation.TRY](call, connection)

    @property
    def missing(self) -> str:
        """The operations that have no function yet: "confirm, cancel"."""
        return ", ".join(each for each in METHODS[self.kind] if each not in self._handlers)

    def cancel(self, handler: HandlerT, /) -> HandlerT:
        """Serve Cancel with a function. Raises ValueError if there is one."""
        return self._join(Operation.CANCEL, handler)

    def _join(self, operation: Operation, handler: HandlerT) -> HandlerT:
        if operation in self._handlers:
            raise ValueError(f"{self.action} has a {operation} already")
        self._require(handler)
        self._handlers[operation] = handler
        if not self.missing:
            self._serve(self._handlers)
        return handler


class TccFunctions(SagaFunctions):
    """A tcc action made of functions: its Try, and the others by `confirm` and `cancel`."""

    kind = Kind.TCC

    def confirm(self, handler: HandlerT, /) -> HandlerT:
        """Serve Confirm with a function. Raises ValueError if there is one."""
        return self._join(Operation.CONFIRM, handler)


class TccDecorator(Protocol):
    """What `Participant.tcc` returns."""

    @overload
    def __call__(self, target: TccT, /) -> TccT: ...
    @overload
    def __call__(self, target: Handler, /) -> TccFunctions: ...


class SagaDecorator(Protocol):
    """What `Participant.saga` returns."""

    @overload
    def __call__(self, target: SagaT, /) -> SagaT: ...
    @overload
    def __call__(self, target: Handler, /) -> SagaFunctions: ...


_FUNCTIONS: Mapping[Kind, type[SagaFunctions]] = {
    functions.kind: functions for functions in (SagaFunctions, TccFunctions)
}


def declare(action: str, kind: Kind, target: Any, require: Require, serve: Serve) -> Any:
    """Serve an action with what was decorated, and return what takes its place.

    Raises TypeError for a class that lacks a handler, and for what can be none.
    """
    if kind not in METHODS:
        handlers: Mapping[Operation, Handler] = {Operation.DELIVER: target}
    elif inspect.isroutine(target):
        return _FUNCTIONS[kind](action, target, require, serve)
    else:
        handlers = _methods(action, METHODS[kind], target)
    for handler in handlers.values():
        require(handler)
    serve(handlers)
    return target


def _methods(action: str, names: Mapping[Operation, str], target: Any) -> dict[Operation, Handler]:
    """Return the handlers in a class, which is made once, or in an object of one."""
    made = _made(action, target) if isinstance(target, type) else target
    missing = [name for name in names.values() if getattr(made, name, None) is None]
    if missing:
        raise TypeError(
            f"{action}: {type(made).__name__} has no {', '.join(missing)}; allowed: a class with "
            f"{', '.join(names.values())}, or a function for each"
        )
    _require_no_other(action, made)
    return {operation: getattr(made, name) for operation, name in names.items()}


def _made(action: str, handlers: type) -> Any:
    try:
        inspect.signature(handlers).bind()
    except TypeError:
        raise TypeError(
            f"{action}: {handlers.__name__} is made without arguments, and takes "
            f"{inspect.signature(handlers)}; allowed: one that you have made, as in "
            f"p.tcc(...)({handlers.__name__}(...))"
        ) from None
    return handlers()


def _require_no_other(action: str, made: Any) -> None:
    """Raise TypeError for a method whose name is nearly a handler's, and is never called.

    Those of another kind's handlers are well: one class may serve an action as tcc and as saga.
    """
    known = list(METHODS[Kind.TCC].values())
    for name in vars(type(made)):
        near = difflib.get_close_matches(name, known, 1, 0.8)
        if near and name not in known and abs(len(name) - len(near[0])) <= 1:
            raise TypeError(
                f"{action}: {type(made).__name__} has a {name}, which would never be called; "
                f"allowed: {near[0]}, or quite another name"
            )
