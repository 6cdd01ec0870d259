"""Exit 0 if the gRPC health service at HOST:PORT says SERVING: `python healthcheck.py HOST:PORT`.

Works for the coordinator and for every participant, since all of them serve grpc.health.v1.
"""

import sys

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

TIMEOUT_SECONDS = 2.0


def main(target: str) -> int:
    """Ask, say on stderr what came back, and return the exit code."""
    with grpc.insecure_channel(target) as channel:
        try:
            answer = HealthStub(channel).Check(HealthCheckRequest(), timeout=TIMEOUT_SECONDS)
        except grpc.RpcError as error:
            sys.stderr.write(f"{target}: {error.code().name}\n")
            return 1
    status = HealthCheckResponse.ServingStatus.Name(answer.status)
    sys.stderr.write(f"{target}: {status}\n")
    return 0 if answer.status == HealthCheckResponse.SERVING else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
