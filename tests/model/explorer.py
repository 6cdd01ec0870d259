"""Breadth first over every reachable state of a model; a violation is told with the way there."""

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from tests.model.protocol import Model
from tests.model.world import Violation, World


class Explored(NamedTuple):
    """How large the state space was."""

    states: int
    transitions: int
    finals: int


def explore(
    model: Model, most: int = 5_000_000, sample: int = 50, say: Callable[[str], None] = print
) -> Explored:
    """Visit every reachable state. Raises Violation with the way there."""
    start = model.start()
    came_from: dict[World, tuple[World, str] | None] = {start: None}
    queue = deque([start])
    transitions = finals = visited = 0
    while queue:
        world = queue.popleft()
        visited += 1
        label = ""
        try:
            model.check(world)
            if not visited % sample and not model.finishes(world):
                raise Violation("L1: it never ends although faults have stopped")
            count = 0
            for label, to in model.successors(world):
                transitions += 1
                count += 1
                if to not in came_from:
                    came_from[to] = (world, label)
                    queue.append(to)
            finals += not count
        except Exception as error:
            way = "\n".join(f"  {n}. {step}" for n, step in enumerate(_way(came_from, world)))
            raise Violation(f"{error}\n{way}\n  then, if not here, near: {label}") from error
        if visited > most:
            raise Violation(f"more than {most} states")
    say(f"{len(came_from)} states, {transitions} transitions")
    return Explored(len(came_from), transitions, finals)


def _way(came_from: dict[World, tuple[World, str] | None], world: World) -> list[str]:
    labels = []
    at = came_from[world]
    while at is not None:
        world, label = at
        labels.append(label)
        at = came_from[world]
    return labels[::-1]
