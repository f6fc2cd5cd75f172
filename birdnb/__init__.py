"""birdnb: an open, reproducible study of how well bird species can be told apart by their song.

Importing the package is cheap: heavy libraries (torch, librosa, pandas) are imported by the modules
that use them.
"""

import os

__version__ = "0.1.0"

# Threads that wait for one another give the core up soon. The default of GNU OpenMP, which torch
# uses on Linux, spins much longer: free on a machine at rest, but beside another busy program a
# training then took two to three times as long. Source:
# https://gcc.gnu.org/onlinedocs/libgomp/GOMP_005fSPINCOUNT.html
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
