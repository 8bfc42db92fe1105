"""The Python functions, one file per group; `bridge` exports them, and the command line calls them."""
