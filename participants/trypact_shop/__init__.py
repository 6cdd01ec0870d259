"""A small e-commerce back end on trypact: orders, stock, coupons, balances, points, messages.

Each package below is one participant: its own process with its own database. `tables` is what it
keeps, `requests` what may be asked of it, `actions` what it does for a transaction, `queries` what
people and other services may look up. `order` also opens the global transactions.
"""
