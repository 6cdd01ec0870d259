"""The two wires of the bare loop: MessagePack, the least there is, and the product's own protobuf.

The distance between the two is what the public contract costs, with nothing else about it. Neither
validates anything.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import msgspec
from trypact.v1 import initiator_pb2, participant_pb2, transaction_pb2

_CONFIRMED = transaction_pb2.TRANSACTION_STATE_CONFIRMED
_TRY, _CONFIRM = transaction_pb2.OPERATION_TRY, transaction_pb2.OPERATION_CONFIRM
_OK = transaction_pb2.Answer(ok=transaction_pb2.Answer.Ok())
_TIMEOUT_MS = 90_000

# [id, action, payload]
Branch = tuple[str, str, bytes]
# [number of the order at its client, xid, branches, all of it as it is kept in the journal]
Order = tuple[int, str, Sequence[Branch], bytes]
# [xid, branch, action, payload, whether it is Confirm]
Call = tuple[str, str, str, bytes, bool]
# [xid, branch, whether it is Confirm, result]
Answer = tuple[str, str, bool, bytes]
# [number of the order at its client, whether it is confirmed]
Outcome = tuple[int, bool]


class Wire(Protocol):
    """How items become messages, and what a participant that says OK answers to one."""

    def write_orders(self, orders: Sequence[Any]) -> bytes: ...
    def read_orders(self, data: bytes) -> Iterable[Order]: ...
    def write_calls(self, calls: Sequence[Call]) -> bytes: ...
    def answer(self, data: bytes) -> bytes: ...
    def read_answers(self, data: bytes) -> Iterable[Answer]: ...
    def write_outcomes(self, outcomes: Sequence[Outcome]) -> bytes: ...
    def read_outcomes(self, data: bytes) -> Iterable[Outcome]: ...


class MessagePack:
    """Lists of plain values, read and written in C."""

    def __init__(self) -> None:
        self.encode = msgspec.msgpack.Encoder().encode
        self.orders = msgspec.msgpack.Decoder(list[tuple[int, str, list[Branch]]]).decode
        self.calls = msgspec.msgpack.Decoder(list[Call]).decode
        self.answers = msgspec.msgpack.Decoder(list[Answer]).decode
        self.outcomes = msgspec.msgpack.Decoder(list[Outcome]).decode

    def write_orders(self, orders: Sequence[Any]) -> bytes:
        return self.encode(orders)

    def read_orders(self, data: bytes) -> Iterable[Order]:
        encode = self.encode
        return [
            (number, xid, branches, encode(branches)) for number, xid, branches in self.orders(data)
        ]

    write_calls = write_orders
    write_outcomes = write_orders

    def answer(self, data: bytes) -> bytes:
        answers = [(xid, branch, confirm, b"") for xid, branch, _, _, confirm in self.calls(data)]
        return self.write_orders(answers)

    def read_answers(self, data: bytes) -> Iterable[Answer]:
        return self.answers(data)

    def read_outcomes(self, data: bytes) -> Iterable[Outcome]:
        return self.outcomes(data)


class Protobuf:
    """The messages of ExecuteStream and Drive."""

    def write_orders(self, orders: Sequence[Any]) -> bytes:
        request = initiator_pb2.ExecuteStreamRequest()
        for number, xid, branches in orders:
            item = request.items.add(id=number, timeout_ms=_TIMEOUT_MS)
            item.execute.begin.name = "bench"
            item.execute.begin.xid = xid
            for branch, action, payload in branches:
                item.execute.branches.add(
                    id=branch,
                    kind=transaction_pb2.BRANCH_KIND_TCC,
                    action=action,
                    payload=payload,
                )
        return request.SerializeToString()

    def read_orders(self, data: bytes) -> Iterable[Order]:
        for item in initiator_pb2.ExecuteStreamRequest.FromString(data).items:
            request = item.execute
            branches = [(one.id, one.action, one.payload) for one in request.branches]
            yield item.id, request.begin.xid, branches, request.SerializeToString()

    def write_calls(self, calls: Sequence[Call]) -> bytes:
        request = participant_pb2.DriveRequest()
        for xid, branch, action, payload, confirm in calls:
            item = request.items.add(operation=_CONFIRM if confirm else _TRY, timeout_ms=5_000)
            call = item.call
            call.xid, call.branch_id, call.action = xid, branch, action
            call.payload, call.attempt = payload, 1
            call.kind = transaction_pb2.BRANCH_KIND_TCC
        return request.SerializeToString()

    def answer(self, data: bytes) -> bytes:
        response = participant_pb2.DriveResponse()
        for item in participant_pb2.DriveRequest.FromString(data).items:
            call = item.call
            response.items.add(
                xid=call.xid,
                branch_id=call.branch_id,
                operation=item.operation,
                attempt=call.attempt,
                answer=_OK,
            )
        return response.SerializeToString()

    def read_answers(self, data: bytes) -> Iterable[Answer]:
        for item in participant_pb2.DriveResponse.FromString(data).items:
            yield item.xid, item.branch_id, item.operation == _CONFIRM, item.answer.ok.result

    def write_outcomes(self, outcomes: Sequence[Outcome]) -> bytes:
        response = initiator_pb2.ExecuteStreamResponse()
        for number, _ in outcomes:
            response.items.add(id=number).execute.outcome.state = _CONFIRMED
        return response.SerializeToString()

    def read_outcomes(self, data: bytes) -> Iterable[Outcome]:
        for item in initiator_pb2.ExecuteStreamResponse.FromString(data).items:
            yield item.id, item.execute.outcome.state == _CONFIRMED


WIRES: dict[str, Wire] = {"messagepack": MessagePack(), "protobuf": Protobuf()}
