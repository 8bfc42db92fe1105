"""Shared display code of notebooks, pages and terminals."""
