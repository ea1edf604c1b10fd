"""Screens above the main one; each is modal and small."""
