"""The Django admin: sessions, their search, statistics and chart, and the staff sign-in."""

from accounts.admin.sessions import SessionRecordAdmin

__all__ = ["SessionRecordAdmin"]  # Django imports this package to register the admin
