"""The plots of a run: SVG files that are the same whenever the findings are."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from tests.bench.findings import Findings, Load, Moment
from tests.bench.report import PROCESSES

# Told apart by people who see colours differently, too (Okabe and Ito, 2008).
LOOKS: dict[str, dict[str, Any]] = {
    "postgresql": {"color": "#0072B2", "marker": "o", "label": "trypact on PostgreSQL"},
    "sqlite": {"color": "#009E73", "marker": "s", "label": "trypact on SQLite"},
    "bare, our wire": {
        "color": "#D55E00",
        "marker": "^",
        "linestyle": "--",
        "label": "bare loop, our wire (PostgreSQL)",
    },
    "bare": {
        "color": "#7F7F7F",
        "marker": "v",
        "linestyle": ":",
        "label": "bare loop (PostgreSQL)",
    },
}
OF_PROCESS = dict(zip(PROCESSES, ("#0072B2", "#56B4E9", "#E69F00", "#999999"), strict=True))
STYLE: Any = {
    "svg.hashsalt": "trypact",
    "svg.fonttype": "none",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}
SIZE = (7.5, 4.2)
_OVERLOAD: dict[str, Any] = {"color": "#0072B2", "marker": "o"}
_PLAIN = FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:g}")


def draw(findings: Findings, folder: Path, form: str = "svg") -> list[str]:
    """Draw what the findings allow for; return the names of the files."""
    drawn = []
    with mpl.rc_context(STYLE):
        for name, plot in PLOTS.items():
            figure = Figure(figsize=SIZE, layout="constrained")
            if plot(figure, findings):
                path = folder / f"{name}.{form}"
                metadata = {"Date": None, "Creator": None} if form == "svg" else None
                figure.savefig(path, format=form, metadata=metadata, dpi=110)
                drawn.append(path.name)
    return drawn


def throughput(figure: Figure, findings: Findings) -> bool:
    """Draw transactions a second against clients."""
    series = _series(findings)
    if not series:
        return False
    axes = figure.add_subplot()
    for system, loads in series.items():
        axes.plot(_clients(loads), [load.rate for load in loads], **LOOKS[system])
    axes.set_title("Throughput: TCC of 4 branches, no-op participants", loc="left")
    _log(axes, "clients", "transactions a second", _ticks(series))
    axes.legend(loc="lower right")
    return True


def latency(figure: Figure, findings: Findings) -> bool:
    """Draw p50 and p99 against clients, beside each other."""
    series = _series(findings)
    if not series:
        return False
    panels: Sequence[Axes] = figure.subplots(1, 2, sharey=True)
    values: tuple[tuple[str, Callable[[Load], float]], ...] = (
        ("p50", lambda load: load.p50_ms),
        ("p99", lambda load: load.p99_ms),
    )
    for axes, (name, value) in zip(panels, values, strict=True):
        for system, loads in series.items():
            axes.plot(_clients(loads), [value(load) for load in loads], **LOOKS[system])
        axes.set_title(f"Latency, {name}", loc="left")
        _log(axes, "clients", "milliseconds" if name == "p50" else "", _ticks(series))
    panels[0].legend(loc="upper left", fontsize=8)
    return True


def cpu(figure: Figure, findings: Findings) -> bool:
    """Draw CPU of a transaction by process, stacked."""
    series = _series(findings)
    loads = [(system, load) for system, all_loads in series.items() for load in _some(all_loads)]
    axes = figure.add_subplot()
    names = [f"{_short(system)}\n{load.clients} clients" for system, load in loads]
    bottom = [0.0] * len(loads)
    for process, colour in OF_PROCESS.items():
        heights = [load.cpu_ms.get(process, 0.0) for _, load in loads]
        axes.barh(names, heights, left=bottom, color=colour, label=process, height=0.65)
        bottom = [low + height for low, height in zip(bottom, heights, strict=True)]
    for at, total in enumerate(bottom):
        axes.annotate(f"{total:,.0f}", (total, at), xytext=(4, 0), textcoords="offset points",
                      va="center", fontsize=9)  # fmt: skip
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.margins(x=0.08)
    axes.set_xlabel("microseconds of CPU a transaction")
    axes.set_title("CPU of a TCC transaction of 4 branches, by process", loc="left")
    axes.legend(loc="lower right")
    return bool(loads)


def overload(figure: Figure, findings: Findings) -> bool:
    """Draw what comes through against what arrives, and its latency beside."""
    found = [one for one in findings.overloads if one.arrivals]
    through, latency = figure.subplots(1, 2)
    arrivals = [one.arrivals for one in found]
    through.plot(arrivals, arrivals, color="#999999", linestyle=":", label="arrive")
    through.plot(arrivals, [one.rate for one in found], label="come through", **_OVERLOAD)
    latency.plot(arrivals, [one.p50_ms for one in found], label="p50", **_OVERLOAD)
    latency.plot(arrivals, [one.p99_ms for one in found], color="#D55E00", marker="^", label="p99")
    through.set_title("Transactions a second, of those that arrive", loc="left", fontsize=10)
    latency.set_title("Latency of what was let in, ms", loc="left", fontsize=10)
    for axes in (through, latency):
        axes.set_xlabel("transactions that arrive a second")
        axes.xaxis.set_major_formatter(_PLAIN)
        axes.set_ylim(bottom=0)
        axes.legend(loc="upper left")
    through.yaxis.set_major_formatter(_PLAIN)
    return bool(found)


def recovery(figure: Figure, findings: Findings) -> bool:
    """Draw when a restarted coordinator serves, and when everything is final."""
    found = findings.recoveries
    axes = figure.add_subplot()
    names = [f"{_short(one.journal)}\n{one.in_flight:,} in flight" for one in found]
    serving = [one.serving_s for one in found]
    rest = [one.final_s - one.serving_s for one in found]
    axes.barh(names, serving, color="#0072B2", label="until it serves", height=0.55)
    axes.barh(names, rest, left=serving, color="#E69F00", height=0.55,
              label="until everything is final")  # fmt: skip
    for at, one in enumerate(found):
        axes.annotate(f"{one.final_s:.2f} s", (one.final_s, at), xytext=(4, 0),
                      textcoords="offset points", va="center", fontsize=9)  # fmt: skip
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.margins(x=0.12)
    axes.set_xlabel("seconds since the restart")
    axes.set_title("Recovery after kill -9", loc="left")
    axes.legend(loc="upper right")
    return bool(found)


def soak(figure: Figure, findings: Findings) -> bool:
    """Draw memory and latency over the time of a soak."""
    upper, lower = figure.subplots(2, 1, sharex=True)
    for one in findings.soaks:
        moments = one.moments
        memory = [moment.coordinator_mib for moment in moments]
        _over_time(upper, moments, memory, "coordinator", "#0072B2")
        _over_time(lower, moments, [moment.p50_ms for moment in moments], "p50", "#009E73")
        _over_time(lower, moments, [moment.p99_ms for moment in moments], "p99", "#D55E00")
        where = f"{one.clients} clients on {_short(one.journal)}, {one.seconds:,.0f} s"
        upper.set_title(f"Soak: {where}", loc="left")
    for axes, label in ((upper, "memory, MiB"), (lower, "latency, ms")):
        axes.set_ylabel(label)
        axes.set_ylim(0, axes.get_ylim()[1] * 1.15)
        axes.margins(x=0.02)
    lower.set_xlabel("seconds")
    return bool(findings.soaks)


def _over_time(
    axes: Axes, moments: Sequence[Moment], values: Sequence[float], label: str, colour: str
) -> None:
    at = [moment.at_s for moment in moments]
    axes.plot(at, values, color=colour)
    axes.annotate(label, (at[-1], values[-1]), xytext=(6, 0), textcoords="offset points",
                  va="center", color=colour, annotation_clip=False)  # fmt: skip


PLOTS: dict[str, Callable[[Figure, Findings], bool]] = {
    "throughput": throughput,
    "latency": latency,
    "cpu": cpu,
    "overload": overload,
    "recovery": recovery,
    "soak": soak,
}


def _series(findings: Findings) -> dict[str, list[Load]]:
    found: dict[str, list[Load]] = {}
    for system in LOOKS:
        loads = [load for load in findings.loads if (load.case, load.system) == ("tcc", system)]
        if loads:
            found[system] = sorted(loads, key=lambda load: load.clients)
    return found


def _clients(loads: Sequence[Load]) -> list[int]:
    return [load.clients for load in loads]


def _ticks(series: dict[str, list[Load]]) -> list[int]:
    return sorted({load.clients for loads in series.values() for load in loads})


def _some(loads: Sequence[Load]) -> list[Load]:
    """Return those of many clients; few of them say more about the idle loop than about work."""
    return [load for load in loads if load.clients >= 64] or list(loads[-1:])


def _short(system: str) -> str:
    return {"postgresql": "PostgreSQL", "sqlite": "SQLite"}.get(system, system)


def _log(axes: Axes, x: str, y: str, ticks: Sequence[int]) -> None:
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(ticks, labels=[f"{tick:,}" for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(_PLAIN)
    axes.yaxis.set_minor_formatter(FuncFormatter(_two_and_five))
    axes.tick_params(axis="y", which="both", labelsize=9)
    axes.set_xlabel(x)
    axes.set_ylabel(y)


def _two_and_five(value: float, _: object) -> str:
    leading = f"{value:e}"[0]
    return str(_PLAIN(value)) if leading in "25" else ""
