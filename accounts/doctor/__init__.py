"""`manage.py doctor`: examines the API, the keys, and the deployed site from outside. An examination raises nothing for
what it finds. No finding shows a key, a token or a password."""
