"""Engines: one process, and Ray."""
