"""``hv``, the command line: fast to start, plain to read, safe to pipe.

Rule of this room: ``main`` imports the module of one command only, and a command imports what it needs when it
needs it. Errors are one sentence on stderr and exit code 1.
"""
