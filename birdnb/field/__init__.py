"""A trained run on hours of sound: detections, their promises, tables and a page."""
