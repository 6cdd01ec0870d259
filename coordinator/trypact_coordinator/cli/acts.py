"""The acts of `trypact tx`: retry, pause, resume, confirm, cancel, skip-branch.

They ask no questions, so that scripts can use them; a reason is required and goes into the
transaction's timeline with the actor's name. None can reverse a decision.
"""

import getpass
from collections.abc import Callable, Sequence
from typing import Any

import click

from trypact_coordinator.cli.failures import FAILED, PARTLY_DONE, Failure
from trypact_coordinator.cli.output import Format, output_option, print_rows
from trypact_coordinator.cli.remote import connected, read_xids, remote_options


def _act_options(command: Callable[..., Any]) -> Callable[..., Any]:
    reason = click.option(
        "--reason", required=True, metavar="TEXT", help="Why, for the timeline. Required."
    )
    actor = click.option(
        "--actor", default=_user, metavar="NAME", help="Who, for the timeline. [default: you]"
    )
    return reason(actor(output_option(remote_options(command))))


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def _simple(name: str, method: str, done: Callable[[Any], str], about: str) -> click.Command:
    """Make an act that takes nothing but xids."""

    @click.command(name, help=about)
    @click.argument("xids", metavar="XID...", nargs=-1, required=True)
    @_act_options
    def command(xids: tuple[str, ...], reason: str, actor: str, **options: Any) -> None:
        from trypact.v1 import admin_pb2

        request = getattr(admin_pb2, f"{method}Request")
        requests = [(x, request(xid=x, reason=reason, actor=actor)) for x in read_xids(xids)]
        _carry_out(method, requests, done, **options)

    return command


def _decide(name: str, about: str) -> click.Command:
    """Make an act that decides."""

    @click.command(name, help=about)
    @click.argument("xids", metavar="XID...", nargs=-1, required=True)
    @_act_options
    def command(xids: tuple[str, ...], reason: str, actor: str, **options: Any) -> None:
        from trypact.v1 import admin_pb2, transaction_pb2

        decision = transaction_pb2.Decision.Value(f"DECISION_{name.upper()}")
        requests = [
            (
                xid,
                admin_pb2.DecideTransactionRequest(
                    xid=xid, decision=decision, reason=reason, actor=actor
                ),
            )
            for xid in read_xids(xids)
        ]
        _carry_out("DecideTransaction", requests, _says(f"decided {name}"), **options)

    return command


@click.command("skip-branch")
@click.argument("xid")
@click.argument("branch_id", metavar="BRANCH")
@_act_options
def skip_branch(xid: str, branch_id: str, reason: str, actor: str, **options: Any) -> None:
    """Mark a branch as settled by hand, so that the rest can finish.

    Only after the decision, and only when its effect was put right by hand.
    """
    from trypact.v1 import admin_pb2

    request = admin_pb2.SkipBranchRequest(xid=xid, branch_id=branch_id, reason=reason, actor=actor)
    _carry_out("SkipBranch", [(xid, request)], _says("branch skipped"), **options)


def _asked_again(tx: Any) -> str:
    return "asked again" if tx.summary.HasField("waiting_for") else "nothing to ask"


def _says(done: str) -> Callable[[Any], str]:
    return lambda _: done


def _carry_out(
    method: str,
    requests: Sequence[tuple[str, Any]],
    done: Callable[[Any], str],
    *,
    output: Format,
    server: str,
    timeout: int,
) -> None:
    from trypact_coordinator.cli import views

    answers, failures = [], []
    with connected(server, timeout) as remote:
        call = getattr(remote.admin(), method)
        for xid, request in requests:
            try:
                answer = remote.call(call, request, f"{xid} was not changed")
            except Failure as failure:
                failures.append(failure)
            else:
                answers.append(answer.transaction)
    columns = [
        ("XID", lambda tx: tx.summary.xid),
        ("DONE", done),
        ("STATE", lambda tx: views.state_name(tx.summary.state)),
    ]
    if answers:
        print_rows(
            output, answers, views.detail_view, columns, id_of=lambda tx: str(tx.summary.xid)
        )
    conclude(failures, len(requests), "done")


def conclude(failures: Sequence[Failure], asked: int, verb: str) -> None:
    """Raise what a command over many xids ends with, if any of them failed."""
    if not failures:
        return
    if asked == 1:
        raise failures[0]
    for failure in failures:
        click.echo(failure.lines(), err=True)
    codes = {failure.exit_code for failure in failures}
    exit_code = codes.pop() if len(codes) == 1 else FAILED
    raise Failure(
        f"{len(failures)} of {asked} could not be {verb}",
        "each is told above",
        "Mend what is told there and try those again.",
        PARTLY_DONE if len(failures) < asked else exit_code,
    )


COMMANDS: tuple[click.Command, ...] = (
    _simple(
        "retry",
        "RetryTransaction",
        _asked_again,
        "Ask at once for everything that waits for a back-off.",
    ),
    _simple(
        "pause",
        "PauseTransaction",
        _says("paused"),
        "Stop calls. The deadline still decides Cancel.",
    ),
    _simple("resume", "ResumeTransaction", _says("resumed"), "Let calls leave again."),
    _decide(
        "confirm",
        "Decide Confirm for an undecided transaction; possible once every Try is OK.",
    ),
    _decide("cancel", "Decide Cancel for an undecided transaction."),
    skip_branch,
)
