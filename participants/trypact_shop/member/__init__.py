"""The member participant: points and growth, earned by orders."""
