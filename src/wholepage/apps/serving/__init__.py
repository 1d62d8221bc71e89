"""A ranker behind HTTP: the shapes of request that clients know, one engine below them, and a page for people."""
