"""`manage.py doctor`: examines the API, the keys in use, and with --url the deployed site from outside.

An examination yields findings and raises nothing for what it finds. No finding shows a key, a token or a password.
"""
