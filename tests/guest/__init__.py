"""The small guest of the tests: a Debian kernel and busybox on a disk that boots from BIOS and UEFI.

``image()`` gives the file, built on first use and kept outside the checkout.
"""

from tests.guest.builder import Form, image

__all__ = ["Form", "image"]
