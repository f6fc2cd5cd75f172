"""What holds for all tests."""

import os

# they compare numbers in full precision; a GPU's own tests ask for it
os.environ.setdefault("ACCELERATE_USE_CPU", "true")
