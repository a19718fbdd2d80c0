"""Moments in the admin read as on every other page: 24 hours, and the time zone said."""

DATE_FORMAT = "j M Y"
DATETIME_FORMAT = "j M Y, H:i T"
