"""Decisions before a model runs: options, plugins, models, corpus and pairs of tokens."""
