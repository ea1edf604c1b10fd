"""hyperd itself in a cluster: what ``hv install``, ``upgrade`` and ``uninstall`` do."""
