"""Draw data with matplotlib; saving is separate."""

import matplotlib

# names from data are drawn letter for letter: a species may be called $x_1$
matplotlib.rcParams["text.parse_math"] = False
