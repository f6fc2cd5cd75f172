"""Share recordings out to training, validation and test so that no recording session is on two
sides.
"""
