"""Declarative virtual machines on bare metal."""

__version__ = "0.1.0"
