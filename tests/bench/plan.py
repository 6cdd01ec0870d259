"""What a run of the benchmark is made of: steps, each of one case."""

from collections.abc import Callable
from dataclasses import dataclass

from tests.bench.findings import Findings
from tests.bench.rig import JOURNALS, Rig

# Starting the processes of a step and ending them, about.
AROUND_SECONDS = 2.0


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    clients: tuple[int, ...] = (1, 8, 16, 64, 256)
    journals: tuple[str, ...] = JOURNALS
    # How long a load runs before it is watched, and how long it is watched.
    warm_up_seconds: float = 1.0
    seconds: float = 4.5
    soak_seconds: float = 30.0
    # Transactions in flight when the coordinator is killed.
    in_flight: tuple[int, ...] = (100, 10_000)

    @property
    def clients_of_the_rest(self) -> tuple[int, ...]:
        """The numbers of clients for cases that do not need them all."""
        return tuple(sorted({self.clients[0], min(self.clients, key=lambda n: abs(n - 64))}))

    @property
    def load_seconds(self) -> float:
        """About what a step with one load takes."""
        return AROUND_SECONDS + self.warm_up_seconds + self.seconds


@dataclass(frozen=True)
class Step:
    """One thing to measure."""

    what: str
    # About how long it takes, for the progress bar.
    seconds: float
    # Adds to the findings; returns the most telling figure in words.
    run: Callable[[Rig, Findings], str]
    # Of a load; 0 for the rest.
    clients: int = 0
