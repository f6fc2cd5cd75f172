"""Download from Xeno-Canto, and read what was downloaded."""
