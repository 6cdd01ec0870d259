"""Addresses at the door of both clients."""

import pytest
import trypact
from trypact import _exchange, errors
from trypact._exchange import Failure
from trypact.v1 import initiator_pb2

from tests.unit.sdk.conversing import DOWN, NO_CONNECTION, Script


@pytest.mark.parametrize("face", [trypact.Client, trypact.SyncClient])
@pytest.mark.parametrize(
    "address",
    [
        "",
        "localhost",
        "http://127.0.0.1:7000",
        "127.0.0.1:abc",
        "127.0.0.1:",
        ":7000",
        "127.0.0.1:0",
        "127.0.0.1:99999",
        "::1:7000",
        7000,
        None,
    ],
)
def test_what_is_no_address_is_refused_where_it_is_given(face: type, address: object) -> None:
    with pytest.raises(errors.InvalidRequest, match=r"endpoint: is .*allowed: HOST:PORT"):
        face(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1:7000",
        "localhost:1",
        "[::1]:65535",
        "unix:/run/it.sock",
        "dns:///coordinator:7000",
    ],
)
def test_what_can_be_connected_to_is_taken(address: str) -> None:
    assert trypact.Client(address).endpoint == address


def executed(*replies: Failure, fresh: bool) -> errors.TrypactError:
    script = Script(list(replies))
    request = initiator_pb2.ExecuteRequest(fresh=fresh)
    with pytest.raises(errors.TrypactError) as caught:
        script.drive(script.exchange(0.1).ask_to_decide(_exchange.EXECUTE, request, "17"))
    return caught.value


def test_only_what_was_never_sent_and_nobody_else_can_have_sent_was_not_begun() -> None:
    never = executed(NO_CONNECTION, fresh=True)
    assert isinstance(never, errors.CoordinatorUnavailable)
    assert not never.sent
    assert str(never).endswith("last error: refused); nothing was begun")

    assert isinstance(executed(NO_CONNECTION, fresh=False), errors.OutcomeUnknown)
    assert isinstance(executed(DOWN, NO_CONNECTION, fresh=True), errors.OutcomeUnknown)
    assert isinstance(executed(DOWN, _exchange.CLOSED, fresh=True), errors.OutcomeUnknown)


def test_a_coordinator_that_cannot_be_reached_is_logged_once_until_it_answers(
    caplog: pytest.LogCaptureFixture,
) -> None:
    reply = initiator_pb2.GetResponse()
    script = Script([NO_CONNECTION, NO_CONNECTION, reply, NO_CONNECTION, reply])
    exchange = script.exchange()
    script.drive(exchange.ask(_exchange.GET, initiator_pb2.GetRequest()))
    script.drive(exchange.ask(_exchange.GET, initiator_pb2.GetRequest()))

    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert said[0].startswith("the coordinator at coordinator:7000 cannot be reached (failed to")
