"""How calls reach participants: implementations of the Transport port."""
