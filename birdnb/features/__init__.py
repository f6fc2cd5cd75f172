"""From sound files to log-mel spectrograms: decoding, transform, where the bird sings, cache."""
