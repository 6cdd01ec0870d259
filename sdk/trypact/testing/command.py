"""`trypact conformance`: examines a running participant of any language, by plain gRPC."""

import asyncio
import itertools
import json
from collections.abc import Awaitable, Callable
from typing import Any

import click
from trypact_coordinator.cli.failures import USAGE, Failure
from trypact_coordinator.cli.output import Column, Format, output_option, print_rows
from trypact_coordinator.cli.remote import duration_ms

from trypact import clock
from trypact.kinds import Kind
from trypact.testing.examination import (
    Mark,
    NotServed,
    RemoteCallee,
    Report,
    Subject,
    Unreachable,
    examine,
)

_SHOWN_MAX = 300


def _payload(text: str) -> str:
    """Read a payload; one that looks like JSON has to be JSON. Raises BadParameter."""
    if text.lstrip().startswith(("{", "[", '"')):
        try:
            json.loads(_numbered(text)(1))
        except ValueError as error:
            raise click.BadParameter(f"{text} is not JSON: {error}") from None
    return text


@click.command()
@click.argument("address", metavar="HOST:PORT")
@click.argument("action")
@click.option(
    "--kind",
    type=click.Choice([str(kind) for kind in Kind]),
    default=str(Kind.TCC),
    help="Of the branches it is asked for. [default tcc]",
)
@click.option(
    "--payload",
    type=_payload,
    default="",
    metavar="TEXT",
    help="One whose Try succeeds, again and again; %n is a number, new for each branch.",
)
@click.option("--refused-payload", type=_payload, metavar="TEXT", help="One whose Try is refused.")
@click.option(
    "--probe",
    metavar="COMMAND",
    help="Prints the business state, in any form; shows effects that came twice.",
)
@click.option(
    "--restart",
    metavar="COMMAND",
    help="Kills the participant, starts it again on its address, and returns.",
)
@click.option(
    "--patience",
    type=duration_ms,
    default="10s",
    metavar="DURATION",
    help="In which a call must be done or refused, asked again and again. [default 10s]",
)
@output_option
def conformance(
    address: str,
    action: str,
    kind: str,
    payload: str,
    refused_payload: str | None,
    probe: str | None,
    restart: str | None,
    patience: int,
    output: Format,
) -> None:
    """Examine whether a running participant keeps the contract.

    It is called as a coordinator calls it: twice, late, in another order, at once. Some sixty
    branches are tried and a few are confirmed, so use a database for tests.
    """
    subject = Subject(
        action,
        Kind(kind),
        _numbered(payload),
        refused_payload=None if refused_payload is None else _numbered(refused_payload),
        probe=None if probe is None else _prints(probe),
        restart=None if restart is None else _runs(restart),
        patience=patience / 1_000,
        # Not those of an earlier run.
        numbers=itertools.count(clock.now_us() // 1_000_000),
    )
    report = asyncio.run(_examine(address, subject))
    _print(report, output)
    if not report.passed:
        raise Failure(
            f"{action} at {address} breaks the contract",
            f"{len(report.failed)} of {len(report.findings)} cases fail: "
            f"{', '.join(report.failed)}",
            "Read the calls above; docs/how-to/test-your-participant.md tells what each is for.",
        )


def _numbered(text: str) -> Callable[[int], bytes]:
    return lambda number: text.replace("%n", str(number)).encode()


async def _examine(address: str, subject: Subject) -> Report:
    callee = RemoteCallee(address)
    try:
        return await examine(callee, subject)
    except Unreachable as error:
        what = "the participant could not be examined"
        raise Failure(what, str(error), "Give the address that it registers.") from error
    except NotServed as error:
        what = f"there is nothing to examine: {address} has no {subject.action} ({subject.kind})"
        todo = "Name an action and a --kind that it serves, and a participant's own address."
        raise Failure(what, str(error), todo, USAGE) from error
    finally:
        await callee.close()


def _print(report: Report, output: Format) -> None:
    columns: list[Column] = [
        ("", lambda row: str(row.mark)),
        ("CASE", lambda row: row.name),
        ("WHAT MUST HOLD", lambda row: row.sentence),
    ]
    wide: list[Column] = [("WHY NOT", lambda row: row.why)]
    print_rows(output, report.findings, _view, columns, wide, id_of=lambda row: str(row.name))
    if output not in (Format.TABLE, Format.WIDE):
        return
    for finding in report.findings:
        if finding.mark is Mark.FAILED:
            click.echo(f"\n{finding.name}: {finding.sentence}")
            for line in (*finding.trace, f"=> {finding.why}"):
                click.echo(f"    {line}")
    for line in report.not_tried:
        click.echo(f"\n{line}")
    click.echo(f"\n{report.headline}")


def _view(finding: Any) -> dict[str, Any]:
    return {
        "case": finding.name,
        "kind": str(finding.kind),
        "must_hold": finding.sentence,
        "mark": finding.mark.name.lower(),
        "why": finding.why,
        "trace": list(finding.trace),
    }


# ---------------------------------------------------------------- commands of the user's own


def _prints(command: str) -> Callable[[], Awaitable[str]]:
    async def read() -> str:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_shell(
            command, stdout=pipe, stderr=asyncio.subprocess.STDOUT
        )
        said, _ = await process.communicate()
        text = said.decode("utf-8", "replace").strip()
        _require(process.returncode == 0, "--probe", command, text)
        return text

    return read


def _runs(command: str) -> Callable[[], Awaitable[None]]:
    async def run() -> None:
        # What it starts may keep its output open for ever, so nobody waits for the end of that.
        nowhere = asyncio.subprocess.DEVNULL
        process = await asyncio.create_subprocess_shell(command, stdout=nowhere, stderr=nowhere)
        code = await process.wait()
        _require(code == 0, "--restart", command, f"it ended with code {code}")

    return run


def _require(went_well: bool, option: str, command: str, said: str) -> None:
    if not went_well:
        raise Failure(
            f"the command of {option} failed: {command}",
            said[-_SHOWN_MAX:] or "it said nothing",
            "Run it by hand, and mend it.",
        )
