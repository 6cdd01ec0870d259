"""`python -m trypact_shop.member`: the member participant as a process."""

from trypact_shop.member import actions, queries, tables
from trypact_shop.service import Service, plain, run
from trypact_shop.v1 import member_pb2_grpc


def service() -> Service:
    """Return the process."""
    add = member_pb2_grpc.add_MemberServiceServicer_to_server
    return Service(
        actions.NAME,
        tables.metadata,
        actions.participant,
        plain(lambda engine, server: add(queries.MemberService(engine), server)),
    )


if __name__ == "__main__":
    run(service())
