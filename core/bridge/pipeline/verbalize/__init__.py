"""Explanations of features and activations by verbalizers."""
