"""Pieces that draw by line: the virtual table, text lines, the terminal."""
