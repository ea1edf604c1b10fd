"""hyperd over the test driver, with the tests' own backend of volumes beside its own."""

from __future__ import annotations

import sys

from hyperd.daemon import main
from hyperd.storage import backends
from tests.contract.volumes.rawfiles import RawFiles
from tests.testdriver.world import TEST_DRIVER

backends.BACKENDS = (*backends.BACKENDS, RawFiles)
sys.exit(main(world=TEST_DRIVER))
