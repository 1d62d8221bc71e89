"""Floor 2, who orders a page.

One module a way of ranking, from BM25 and fusion to the whole-page head; each is ``Page -> Ranking``, and so are the
single-modal ones. Heavy libraries are imported by the one module that needs them. May import ``wholepage.pages`` only;
it does not know annotation, evaluation or collections.
"""
