"""Session events and traced requests, written to the database by a background thread."""
