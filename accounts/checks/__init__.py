"""System checks: what `manage.py check` says about settings, each with a stable id and a hint."""
