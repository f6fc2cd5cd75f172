"""Explore recordings and results in a notebook: widgets, and the plain functions behind them."""
