"""Floor 2, what people say, and what it costs.

Chooses which results to ask about within a budget, asks, and turns answers into judgments; protocols that ask are
generators without I/O. May import ``wholepage.pages`` only, never torch; it does not know rankers, evaluation or
collections.
"""
