"""The admin API: one file per resource. `docs/api.md` is its manual, /api/schema its OpenAPI document."""
