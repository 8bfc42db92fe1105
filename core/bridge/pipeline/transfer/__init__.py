"""Dictionaries, directions and probes, carried through a bridge."""
