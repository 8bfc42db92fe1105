"""First-party formats of sparse dictionaries."""
