"""Turn predictions into metrics with intervals, ensembles and gate decisions."""
