"""HTTP to the API: pooled connections, deadlines, and strict reading of responses."""
