"""The result page that people look at: a query, its mixed results, and what a ranker made of them.

``serp_routes`` gives the routes that the serving app mounts; ``create_serp`` is an app of them alone. Pages are written
by the server and work without scripts.
"""
