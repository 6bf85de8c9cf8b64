"""
APIs that others wrote, in processes of their own, and what the tests hold of them.

`simplejwt` and `oauth` are the programs: they share no code with the site. `apis` starts them.
"""
