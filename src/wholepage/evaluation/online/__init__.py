"""Which ranker do users prefer: interleaving, A/B tests, side-by-side votes, and indicators from logs."""
