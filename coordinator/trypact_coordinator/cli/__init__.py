"""The command line, `trypact`: data goes to stdout, chatter and errors to stderr.

`main` guards everything: an error is three lines (what, why, what to do), never a traceback, with
an exit code from `failures`. What a command needs is imported when it runs, so that `trypact`
starts at once. Other packages join through the entry points `trypact.commands`.
"""
