"""A token-protected API as somebody else would run it: a program of its own, which shares no code with the site."""
