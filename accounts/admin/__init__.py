"""The Django admin: sessions, their search, statistics and chart, and the staff sign-in.

`AccountsConfig.ready` imports `sessions`, which registers it. An import here would run while the admin site, which
`site` defines, is still being made.
"""
