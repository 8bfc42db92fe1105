"""One file for each command: the stages, put together."""
