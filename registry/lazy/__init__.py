"""Images that guests read while they are being fetched: a process of the node serves them, the daemon keeps it."""
