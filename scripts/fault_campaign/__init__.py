"""The fault campaign: pieces are killed, stopped, starved, and must train the same, to the bit.

`scripts/fault_campaign.sh` runs it; one module for each kind of fault.
"""
