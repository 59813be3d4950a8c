"""Tokens of other issuers: their claims read by the record, their keys fetched and kept."""
