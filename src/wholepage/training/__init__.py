"""Floor 3, how a ranker learns.

Losses as pure functions of tensors, batches of supervised pages, and the training loop. May import
``wholepage.rankers`` and ``wholepage.pages``; it takes judgments as they are and does not know annotation, evaluation
or collections.
"""
