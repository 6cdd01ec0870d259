"""What the page about joining takes as given: an inventory service, as generated from a .proto."""

from typing import Any

import grpc.aio
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

_METHOD = "/shop.Inventory/Reserve"


def _messages(**messages: dict[str, int]) -> list[Any]:
    """Make classes of messages, each with fields of these types."""
    file = FileDescriptorProto(name="shop.proto", package="shop", syntax="proto3")
    for name, fields in messages.items():
        message = file.message_type.add(name=name)
        for number, (field, kind) in enumerate(fields.items(), start=1):
            message.field.add(name=field, number=number, type=kind, label=1)
    pool = DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return [GetMessageClass(pool.FindMessageTypeByName(f"shop.{name}")) for name in messages]


ReserveRequest, ReserveResponse = _messages(
    ReserveRequest={"sku": FieldDescriptorProto.TYPE_STRING},
    ReserveResponse={"pieces": FieldDescriptorProto.TYPE_INT32},
)


class InventoryStub:
    """The caller's side."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.Reserve = channel.unary_unary(
            _METHOD, ReserveRequest.SerializeToString, ReserveResponse.FromString
        )


class InventoryServicer:
    """The service's side."""

    async def Reserve(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Hold some pieces."""
        raise NotImplementedError


def add_to_server(servicer: Any, server: grpc.aio.Server) -> None:
    """Serve it."""
    method = grpc.unary_unary_rpc_method_handler(
        servicer.Reserve, ReserveRequest.FromString, ReserveResponse.SerializeToString
    )
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("shop.Inventory", {"Reserve": method}),)
    )
