"""What users of a page do: the log of it, a simulator that writes such logs, and models fitted to them."""
