"""Compare variants of a run over grouped folds."""
