"""The order participant, and the initiator of the shop's global transactions."""
