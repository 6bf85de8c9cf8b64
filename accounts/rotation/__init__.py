"""The two-phase rotation: which request spends the refresh token, which ones wait or adopt, and when a session ends."""
