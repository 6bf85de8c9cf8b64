"""Device Bound Session Credentials: what a browser's device proves with its key, and what this site asks and keeps."""
