"""Pools: so many machines of one template, each with its own disks."""
