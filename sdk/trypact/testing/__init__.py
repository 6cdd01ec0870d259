"""A coordinator in the test's own process, on virtual time, and what proves a participant right.

It is the one part of the sdk that may import the coordinator (extra `testing`), and nothing else
of the sdk imports it.

    >>> from trypact.testing import Environment, assert_atomic
    >>> async with Environment([inventory]) as env:
    ...     _ = await env.execute("order", [tcc("inventory.reserve", {"pieces": 1})])
    ...     await assert_atomic(env)
"""

from trypact._lazy import from_extra

with from_extra("trypact.testing", "testing"):
    from trypact.testing.atomicity import NotAtomic, assert_atomic
    from trypact.testing.environment import Environment
    from trypact.testing.examination import Finding, Mark, NotConformant, Report, conformance
    from trypact.testing.faults import Script
    from trypact.testing.island import HandlerHangs
    from trypact.testing.simulation import Simulated, SimulationFailed, simulate

__all__ = [
    "Environment",
    "Finding",
    "HandlerHangs",
    "Mark",
    "NotAtomic",
    "NotConformant",
    "Report",
    "Script",
    "Simulated",
    "SimulationFailed",
    "assert_atomic",
    "conformance",
    "simulate",
]
