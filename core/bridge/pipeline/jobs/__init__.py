"""One file for each command, which calls the stages in order."""
