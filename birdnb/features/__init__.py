"""From sound files to log-mel spectrograms: decoding, the transform, where the bird sings, and the
cache.
"""
