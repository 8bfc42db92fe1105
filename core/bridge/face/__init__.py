"""What Python calls: one file a group of calls; `bridge` names them, and the command line calls them."""
