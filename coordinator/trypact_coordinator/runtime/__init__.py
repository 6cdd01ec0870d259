"""The shell that obeys the core: driver, dispatcher, sweeper, registry.

Everything runs in one event loop. No module here names a concrete journal or transport.
"""
