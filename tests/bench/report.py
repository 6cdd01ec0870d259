"""The page and the tables of a run, written from its findings alone."""

from collections.abc import Iterator, Sequence

from tests.bench.budgets import budgets
from tests.bench.findings import Findings, Load, Soak, Table
from tests.bench.slow_neighbour import ARRIVALS, CLIENTS, RATE, STALLING

PROCESSES = ("coordinator", "client", "participant", "database")
COLUMNS = [
    "system",
    "clients",
    "tx/s",
    "p50 ms",
    "p99 ms",
    "p99.9 ms",
    *PROCESSES,
    "commits/tx",
    "records/tx",
    "bytes/tx",
]
ABOUT = {
    "tcc": "TCC of 4 branches at 4 no-op participants (one process, no database), all confirmed.",
    "saga": "A saga of 4 steps, one after the other, that goes well.",
    "rollback": "TCC of 4 branches, the third of which refuses: the others are cancelled.",
    "interactive": "TCC of 4 branches in the interactive form: each Try is a request of its own.",
    "shop": (
        "The shop's order: order, stock and balance by TCC, points by a message, a text by a "
        "notice; six processes, each with a database of its own of that kind. CPU of "
        "*participant* is all six."
    ),
}
PAGE = """\
# Benchmark

Written by `make bench` on {date}. {machine}.
{remark}
Everything runs on this one machine: the real client, one coordinator process, the participants,
the database. Each client waits for its outcome (all branches settled) before it opens the next
transaction. Journals are durable: SQLite with `synchronous=FULL`, PostgreSQL with `fsync` on. CPU
is milliseconds for 1,000 transactions; *client* is all initiators together, and SQLite works
inside the coordinator. *bytes* is what the journal wrote: PostgreSQL's WAL, or SQLite's files.

**bare** is the same exchange of messages and records in as little Python as there can be, with no
validation, state machine, recovery or failure: the limit of CPython and PostgreSQL here, and what
we measure ourselves against. *our wire* is the same with the public protobuf messages in place of
MessagePack; *sqlite* is the same on SQLite.

Absolute figures move from day to day and from machine to machine; compare within one run.

{plots}

{tables}
"""


def tables(findings: Findings) -> Iterator[Table]:
    """Return everything a run has found, as tables."""
    if promised := budgets(findings):
        rows = [[one.what, one.budget, one.measured, one.verdict] for one in promised]
        about = "On PostgreSQL, where nothing else is said."
        yield Table("Budgets", about, ["what", "budget", "measured", ""], rows)
    if rows := _against_bare(findings):
        columns = ["clients", "sqlite", "postgresql", "bare, our wire", "bare"]
        columns += ["postgresql / our wire", "postgresql / bare"]
        yield Table("Throughput beside the bare loop", "Transactions a second.", columns, rows)
    for case in dict.fromkeys(load.case for load in findings.loads):
        loads = [load for load in findings.loads if load.case == case]
        yield Table(f"Load: {case}", ABOUT.get(case, ""), COLUMNS, [_load(load) for load in loads])
    if findings.overloads:
        yield _overloads(findings)
    if findings.besides:
        yield _besides(findings)
    if findings.recoveries:
        yield _recoveries(findings)
    for soak in findings.soaks:
        yield _soak(soak)
    yield from findings.tables
    if findings.failed:
        rows = [[what] for what in findings.failed]
        yield Table("Not measured", "These failed.", ["what"], rows)


def page(findings: Findings, plots: Sequence[str]) -> str:
    """Return the page; `plots` are file names beside it."""
    sections = [
        f"## {table.title}\n\n{table.about}\n\n{markdown(table)}" for table in tables(findings)
    ]
    return PAGE.format(
        date=findings.date,
        machine=findings.machine,
        remark=f"\n**{findings.remark}**\n" if findings.remark else "",
        plots="\n\n".join(f"![{name.removesuffix('.svg')}]({name})" for name in plots),
        tables="\n\n".join(sections),
    )


def markdown(table: Table) -> str:
    """Return a table as Markdown."""
    sides = ["---:" if right else "---" for right in to_the_right(table)]
    return "\n".join(f"| {' | '.join(line)} |" for line in [table.columns, sides, *table.rows])


def to_the_right(table: Table) -> list[bool]:
    """Return which columns are figures: those whose every cell begins like one."""
    return [
        all(row[number][:1] in "0123456789-" for row in table.rows)
        for number in range(len(table.columns))
    ]


def _load(load: Load) -> list[str]:
    return [
        load.system,
        str(load.clients),
        f"{load.rate:,.0f}",
        f"{load.p50_ms:.1f}",
        f"{load.p99_ms:.1f}",
        f"{load.p999_ms:.1f}",
        *(f"{load.cpu_ms[name]:,.0f}" if name in load.cpu_ms else "-" for name in PROCESSES),
        "-" if load.commits is None else f"{load.commits:.2f}",
        "-" if load.records is None else f"{load.records:.2f}",
        "-" if load.journal_bytes is None else f"{load.journal_bytes:,.0f}",
    ]


def _against_bare(findings: Findings) -> list[list[str]]:
    systems = ("sqlite", "postgresql", "bare, our wire", "bare")
    rows = []
    for clients in sorted({load.clients for load in findings.loads if load.case == "tcc"}):
        loads = {system: findings.load("tcc", system, clients) for system in systems}
        ours = loads["postgresql"]
        if ours is None or loads["bare"] is None:
            continue
        row = [str(clients), *(f"{load.rate:,.0f}" if load else "-" for load in loads.values())]
        for bare in ("bare, our wire", "bare"):
            limit = loads[bare]
            row.append(f"{ours.rate / limit.rate:.0%}" if limit else "-")
        rows.append(row)
    return rows


def _overloads(findings: Findings) -> Table:
    return Table(
        "Overload",
        "Transactions of a lean initiator arrive by a schedule that waits for nobody, more and "
        "more of them: the most that come through a second are the capacity. Then 8 clients that "
        "wait for each answer, the arrivals at which that was found, and twice the capacity follow "
        "each other several times. Shown are the rounds with the median p99; the comparisons are "
        "medians of what each round says. Latency is of what was let in, from when it was due.",
        ["journal", "load", "tx/s", "p50 ms", "p99 ms", "refused/s", "of capacity", "of calm p99"],
        [
            [
                one.journal,
                one.load,
                f"{one.rate:,.0f}",
                f"{one.p50_ms:.1f}",
                f"{one.p99_ms:.1f}",
                f"{one.refused_a_second:,.0f}",
                f"{one.of_capacity:.0%}" if one.of_capacity else "-",
                f"{one.of_calm_p99:.1f} x" if one.of_capacity else "-",
            ]
            for one in findings.overloads
        ],
    )


def _besides(findings: Findings) -> Table:
    return Table(
        "Slow neighbours",
        f"A load at no-op participants, alone and beside {RATE:.0f} transactions a second for each "
        "of two others: at first both answer at once; then one never does, and one after "
        f"{STALLING['slow']} seconds. {CLIENTS} clients take all that the coordinator has left, "
        f"{ARRIVALS:,.0f} arrivals a second do not.",
        ["journal", "load", "beside", "tx/s", "p50 ms", "p99 ms", "refused"],
        [
            [
                one.journal,
                one.load,
                one.beside,
                f"{one.rate:,.0f}",
                f"{one.p50_ms:.1f}",
                f"{one.p99_ms:.1f}",
                f"{one.refused:,}",
            ]
            for one in findings.besides
        ],
    )


def _recoveries(findings: Findings) -> Table:
    return Table(
        "Recovery",
        "kill -9 of the coordinator with that many transactions in flight, half of them in Try, "
        "half in Confirm. Seconds from the restart's exec; memory of the coordinator in MiB.",
        ["journal", "in flight", "serving s", "all final s", "idle", "in flight", "recovered"],
        [
            [
                one.journal,
                f"{one.in_flight:,}",
                f"{one.serving_s:.2f}",
                f"{one.final_s:.2f}",
                f"{one.idle_mib:.0f}",
                f"{one.in_flight_mib:.0f}",
                f"{one.recovered_mib:.0f}",
            ]
            for one in findings.recoveries
        ],
    )


def _soak(soak: Soak) -> Table:
    tenth = max(1, len(soak.moments) // 10)
    rows = []
    for name, moments in (("first", soak.moments[:tenth]), ("last", soak.moments[-tenth:])):
        rates = [moment.rate for moment in moments]
        rows.append(
            [
                name,
                f"{sum(rates) / len(rates):,.0f}",
                f"{max(moment.p50_ms for moment in moments):.1f}",
                f"{max(moment.p99_ms for moment in moments):.1f}",
                f"{moments[-1].coordinator_mib:.0f}",
            ]
        )
    about = (
        f"{soak.clients} clients on {soak.journal} for {soak.seconds:.0f} s: the first and the "
        "last tenth of it, the worst second of each."
    )
    return Table("Soak", about, ["tenth", "tx/s", "p50 ms", "p99 ms", "coordinator MiB"], rows)
