"""libvirt's test driver in the place of QEMU: domains that run nothing, in the memory of whoever connects.

``python -m tests.testdriver`` is hyperd over it, with hyperd's own arguments.
"""
