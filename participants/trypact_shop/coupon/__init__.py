"""The coupon participant: who owns which coupon, and for which order it is held or used."""
