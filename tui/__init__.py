"""``hv tui``: homes, machines, disks and images on one screen, in a terminal.

Rules of this room: widgets do no I/O, they draw what the ``Fleet`` holds; nothing polls, everything watches; text
from a home passes the sanitizer before it becomes a cell. The HTTP client is imported after the first frame.
"""
