"""The faces of the coordinator on the wire: gRPC services, and what they say.

`wire` converts between the contract and the core, `errors` turns every failure into one status
with a stable reason, `filter` reads what operators search for, `explain` says in plain words how
a transaction stands. The services themselves are thin: read, ask the coordinator, write.
"""
