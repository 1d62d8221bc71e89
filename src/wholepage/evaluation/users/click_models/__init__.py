"""Models of clicks: what drew a click, and what was seen at all."""
