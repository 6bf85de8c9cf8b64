"""An OAuth 2.0 and OpenID Connect provider, django-oauth-toolkit, and the API whose access tokens it issues."""
