"""What the operating system knows: CPU time of processes, and which machine this is."""

import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.tidy.repository import ROOT

TICKS = os.sysconf("SC_CLK_TCK")


def cpu_ms(pid: int, with_children: bool = False) -> float:
    """Milliseconds of CPU that a process has used, its living children too if asked for."""
    pids = [pid, *(children_of(pid) if with_children else [])]
    return sum(_ticks(one) for one in pids) * 1000 / TICKS


def _ticks(pid: int) -> int:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return 0
    # User and system time; proc(5), fields 14 and 15.
    return int(fields[11]) + int(fields[12])


def children_of(pid: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[1]) == pid:
            found.append(int(path.parent.name))
    return found


@dataclass(frozen=True)
class Machine:
    """Where and beside what a benchmark ran."""

    processor: str
    cores: int
    python: str
    system: str
    load: float
    commit: str

    def describe(self) -> str:
        return (
            f"{self.processor}, {self.cores} cores, load {self.load:.1f} before the start; "
            f"{self.system}; Python {self.python}; commit {self.commit}"
        )


def this_machine() -> Machine:
    info = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in info if line.startswith("model name")]
    git = ["git", "describe", "--always", "--dirty"]
    commit = subprocess.run(git, cwd=ROOT, capture_output=True, text=True, check=False).stdout
    return Machine(
        processor=names[0] if names else platform.machine(),
        cores=len(os.sched_getaffinity(0)),
        python=sys.version.split()[0],
        system=f"{platform.system()} {platform.release()}",
        load=os.getloadavg()[0],
        commit=commit.strip() or "unknown",
    )
