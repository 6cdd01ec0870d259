"""What a participant's answer is to the core."""

import pytest
from trypact.v1 import transaction_pb2
from trypact_coordinator.core.errors import InvalidArgument
from trypact_coordinator.core.events import Ok
from trypact_coordinator.server.wire import reported_answer
from trypact_coordinator.transport.wire import decode


def ok(expires_at_us: int, result: bytes = b"") -> transaction_pb2.Answer:
    said = transaction_pb2.Answer.Ok(result=result, expires_at_us=expires_at_us)
    return transaction_pb2.Answer(ok=said)


@pytest.mark.parametrize("result", [b"", b"7"])
def test_a_reservation_that_expires_is_told_with_or_without_a_result(result: bytes) -> None:
    assert decode(ok(1_000, result)) == Ok(result, 1_000)
    assert decode(ok(0, result)) == Ok(result)
    assert reported_answer(ok(1_000, result)) == Ok(result, 1_000)


def test_an_expiry_before_1970_is_none_in_an_answer_and_a_mistake_in_a_report() -> None:
    """An answer of nonsense must not become an unknown one, which would be asked again for ever."""
    assert decode(ok(-1)) == Ok()
    with pytest.raises(InvalidArgument, match=r"answer\.ok\.expires_at_us"):
        reported_answer(ok(-1))
