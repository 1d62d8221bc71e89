"""Two rankers (or more) on one page: how their orders are merged, who gets the clicks, and who wins."""
