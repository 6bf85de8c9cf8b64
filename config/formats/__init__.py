"""Django's formats for dates and times, by language (FORMAT_MODULE_PATH)."""
