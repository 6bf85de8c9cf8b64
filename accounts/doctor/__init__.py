"""`manage.py doctor`: looks at everything that this site needs, from the keys to the proxies in front of it.

Each module examines one thing and yields findings in plain words; none of them raises for what it finds, and none shows
a key, a token or a password. `examination` puts them together, and `endpoint` is the part that runs on the site itself.
"""
