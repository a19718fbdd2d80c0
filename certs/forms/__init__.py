"""Forms of the pages, one file per page group."""
