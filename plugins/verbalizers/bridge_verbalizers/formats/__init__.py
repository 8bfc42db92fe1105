"""Formats of published readers, one file each: every one describes, and none runs anything."""
