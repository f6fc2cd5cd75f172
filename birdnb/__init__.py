"""birdnb: an open, reproducible study of how well bird species can be told apart by their song.

Importing the package is cheap: heavy libraries (torch, librosa, pandas) are imported by the modules that use them.
"""

__version__ = "0.1.0"
