"""The annotation desk: a web server on which people grade, compare, decide and watch a campaign.

``wholepage annotate serve`` starts it. Pages are written by the server and work without scripts; scripts make them
quicker. What may be asked of whom is decided by ``wholepage.annotation``; here it is only shown and written down.
"""
