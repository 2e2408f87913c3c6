"""Where to cut a net: all its cuts, what they cost, and the best chain of K pieces.

cuts.py finds the cuts; times.py measures the single net's layers, carrier.py the messages, and
memory.py counts what layers need; estimate.py makes the costs of pieces and links of that.
search.py finds the chains that can be best, schedule_time.py plays a chain's schedule, chains.py
brings both together, and choice.py says which chain to take, if any. table.py, record.py and
figure.py show a plan.

carrier.py starts a process that imports this package: nothing heavy is imported here.
"""
