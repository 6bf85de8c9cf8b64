"""What one request knows of its browser: session, cookies, address, and the responses to errors."""
