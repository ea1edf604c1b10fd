"""Addresses of a cluster in namespaces, which nothing outside them sees: two clusters may have the same."""

GATEWAY = "192.168.126.1"
"""The control plane's, on the bridge that joins the nodes."""
PREFIX = 24
PODS = "10.244.0.0/16"
SERVICES = "10.97.0.0/16"
KUBERNETES = "10.97.0.1"
"""Of the Service that leads to the API server."""


def node(number: int) -> str:
    """Of the node of this number, from 1."""
    return f"192.168.126.{10 + number}"


def pods(number: int) -> str:
    """The range of that node's Pods."""
    return f"10.244.{number}.0/24"
