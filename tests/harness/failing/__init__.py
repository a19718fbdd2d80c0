"""A Django application that makes one process of a running portal fail on purpose."""
