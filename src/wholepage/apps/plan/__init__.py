"""What ranking a corpus will cost: measured on sample pages, fitted, carried on to any size. ``wholepage plan``."""
