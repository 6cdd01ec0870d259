"""The inventory participant: goods, stock by warehouse, and what is locked for which order."""
