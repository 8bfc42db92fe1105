"""Formats of published readers, one file each."""
