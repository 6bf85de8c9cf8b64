"""The browser of one request: its session, cookies, address and queue time, and the responses to errors."""
