"""The notification participant: short messages to users, best effort."""
