"""Measure how fast extraction, training and start are, beside the plain way."""
