"""Starters of the real counterparts the tests meet: CAs, DNS, database, browser, and the portal itself."""
