"""The forms in which a certificate leaves: one `Format` per entry of these modules, found by `base.formats()`."""
