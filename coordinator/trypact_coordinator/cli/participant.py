"""`trypact participant`: see who is registered, and whether they answer."""

from typing import Any

import click

from trypact_coordinator.cli.failures import Failure
from trypact_coordinator.cli.output import Column, Format, ago, output_option, print_rows
from trypact_coordinator.cli.remote import connected, remote_options


@click.group()
def participant() -> None:
    """See who is registered."""


@participant.command("list")
@output_option
@remote_options
def list_(output: Format, server: str, timeout: int) -> None:
    """List the registered participants, their actions and how their calls go."""
    from trypact.v1 import registry_pb2

    from trypact_coordinator.cli import views

    with connected(server, timeout) as remote:
        answer = remote.call(
            remote.registry().ListParticipants,
            registry_pb2.ListParticipantsRequest(),
            "the participants could not be listed",
        )
    now = views.micros(answer, "now")
    columns: list[Column] = [
        ("NAME", lambda row: row.name),
        ("LIVE", lambda row: _live(row, now)),
        ("BREAKER", lambda row: views.participant_view(row)["breaker"]),
        ("CALLS", lambda row: f"{row.calls_in_flight} out, {row.calls_queued} waiting"),
        ("ACTIONS", _actions),
    ]
    wide: list[Column] = [("LAPSED", _lapsed), ("INSTANCES", lambda row: _instances(row, now))]
    print_rows(
        output,
        answer.participants,
        views.participant_view,
        columns,
        wide,
        id_of=lambda row: str(row.name),
        empty="No participant is registered.",
    )


def _live(row: Any, now: int) -> str:
    from trypact.v1 import registry_pb2

    from trypact_coordinator.cli import views

    states = [one.state for one in row.instances]
    if live := states.count(registry_pb2.INSTANCE_STATE_LIVE):
        return str(live)
    signed_off = all(state == registry_pb2.INSTANCE_STATE_DRAINING for state in states)
    last = max((views.micros(one, "renewed_at") for one in row.instances), default=0)
    return f"0, {'gone' if signed_off else 'silent'}, seen {ago(last, now)}"


def _lapsed(row: Any) -> str:
    from trypact.v1 import registry_pb2

    return str(sum(one.state != registry_pb2.INSTANCE_STATE_LIVE for one in row.instances))


def _actions(row: Any) -> str:
    from trypact_coordinator.cli import views

    return ", ".join(
        f"{action.verb} ({'/'.join(views.kind_name(kind) for kind in action.kinds)})"
        + "".join(f" on {topic}" for topic in action.topics)
        for action in row.actions
    )


def _instances(row: Any, now: int) -> str:
    from trypact_coordinator.cli import views

    return ", ".join(
        f"{one.instance} at {one.endpoint}, renewed {ago(views.micros(one, 'renewed_at'), now)}"
        for one in row.instances
    )


@participant.command()
@click.argument("name")
@output_option
@remote_options
def ping(name: str, output: Format, server: str, timeout: int) -> None:
    """Have the coordinator call every instance's health service."""
    from trypact.v1 import admin_pb2

    from trypact_coordinator.cli import views

    with connected(server, timeout) as remote:
        answer = remote.call(
            remote.admin().PingParticipant,
            admin_pb2.PingParticipantRequest(participant=name),
            f"participant {name} could not be pinged",
        )
    columns: list[Column] = [
        ("INSTANCE", lambda row: row.instance),
        ("ENDPOINT", lambda row: row.endpoint),
        ("TOOK", lambda row: f"{row.round_trip_us / 1_000:.1f}ms"),
        ("STATUS", lambda row: row.status),
    ]
    print_rows(output, answer.pings, views.ping_view, columns, id_of=lambda row: str(row.instance))
    failing = [row.instance for row in answer.pings if row.status != "SERVING"]
    if failing:
        raise Failure(
            f"{len(failing)} of {len(answer.pings)} instances of {name} do not serve",
            ", ".join(failing),
            "See their logs; the coordinator calls them again by itself when they are back.",
        )
