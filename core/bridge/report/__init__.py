"""Display of results: tables on the terminal, plots and pages in files."""
