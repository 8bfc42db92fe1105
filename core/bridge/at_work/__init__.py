"""The plugin at work in this process: named on disk for the next command, and kept from breaking the process."""
