"""hyperd, over the test driver that ``hypervisor.uri`` names."""

from __future__ import annotations

import sys

from hyperd.daemon import main
from tests.testdriver.world import TEST_DRIVER

sys.exit(main(world=TEST_DRIVER))
