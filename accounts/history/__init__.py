"""What happened to sessions, written to the database by a background thread."""
