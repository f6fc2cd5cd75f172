"""Invent birds: species, their songs, the places they sing in, and the demo corpus."""
