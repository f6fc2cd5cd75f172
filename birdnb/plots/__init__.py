"""Draw data with matplotlib; saving is separate."""
