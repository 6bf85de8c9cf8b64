"""Signing in and out: forms, the provider's redirects, and the limits on failed attempts."""
