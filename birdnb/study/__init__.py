"""Run the notebooks, and give each what it calls."""
