"""What a browser holds, sealed: the API session, its tokens, and the encryption."""
