"""Generated from proto/trypact_shop/v1 by `make stubs`."""
