"""Pages past one machine's memory: files of any size ranked, scored or encoded shard by shard.

Run it with ``wholepage batch``. ``plan`` cuts the input into shards, ``shards`` does one of them, ``job`` does those
that are not done yet with one of three engines: in this process, in processes of its own (``processes``), or in actors
of Ray Data (``ray_actors``). What a shard's file holds depends on the plan alone, never on who did it.
"""
