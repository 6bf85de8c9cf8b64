"""The API session, its tokens, and the encryption that seals them for the browser."""
