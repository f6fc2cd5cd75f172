"""Share recordings out to three sides so that no recording session is on two of them."""
