"""The balance participant: what users have to spend, in money and in coins."""
