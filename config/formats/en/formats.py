"""One format for all times, with the zone. What is not here stays as in Django."""

DATETIME_FORMAT = "Y-m-d H:i T"
