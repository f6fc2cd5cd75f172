"""Measure how fast extraction, training and start are here, beside the plain way with the usual
libraries.
"""
