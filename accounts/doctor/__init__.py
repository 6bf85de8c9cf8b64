"""`manage.py doctor`: examines the API, the keys, and the deployed site from outside. It yields findings, raises nothing
for what it finds, and shows no key, token or password."""
