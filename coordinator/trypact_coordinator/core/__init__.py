"""What a transaction is and what happens next to it, as pure functions of values.

Nothing here awaits, reads a clock, draws a random number or logs: whatever is not deterministic
is an argument. `step` is the one function that decides; `machine` holds the two transition tables
it obeys.
"""
