"""Floor 2, how good an order is.

Measures of a page, tests of significance and reports, from rankings and judgments alone. May import
``wholepage.pages`` only, never torch; it does not know rankers, annotation or collections.
"""
