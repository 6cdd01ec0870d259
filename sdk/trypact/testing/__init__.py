"""A coordinator in the test's own process, on virtual time, and what proves a participant right.

It is the one part of the sdk that may import the coordinator (extra `testing`), and nothing else
of the sdk imports it.
"""
