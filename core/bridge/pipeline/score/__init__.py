"""Scores: scorers on evidence, the live model, judges of explanations."""
