"""The two-phase rotation: who spends the refresh token, who waits, who adopts, and when a session ends."""
