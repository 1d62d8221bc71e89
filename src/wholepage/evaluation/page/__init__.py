"""Measures of whole pages, over arrays of many pages at once; ``registry`` knows them by name."""
