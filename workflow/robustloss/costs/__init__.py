"""What jobs will cost, told from their specifications before anything is computed.

`work` counts passes through the network, `rates` reads the committed tables of workflow/rates, `jobs` makes seconds,
memory and disk of both, and `table` adds them up for a plan. Nothing here imports torch, and nothing that computes a
result imports this: an estimate is part of no result's name.
"""
