"""Results for people: tables on the terminal, pictures in files."""
