"""Runs the stages: corpus -> pairing -> collect -> moments -> fit -> score."""
