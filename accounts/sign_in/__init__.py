"""Sign-in and sign-out: the views and forms, the redirects to the provider, and the rate limits."""
