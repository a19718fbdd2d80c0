"""The other doors in, a file for each: how a certificate comes here besides POST /api/certificates."""
