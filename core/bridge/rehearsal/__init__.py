"""Rehearsals: a whole experiment on small random stand-ins, without a network, before it is paid for."""

from bridge.rehearsal.rehearse import rehearse
from bridge.rehearsal.result import Problem, Rehearsal

__all__ = ["Problem", "Rehearsal", "rehearse"]
