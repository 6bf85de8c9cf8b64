"""What the provider knows our site by."""

CLIENT_ID = "site-under-test"
CLIENT_SECRET = "quay-and-mooring"
SCOPE = "openid profile email read"
