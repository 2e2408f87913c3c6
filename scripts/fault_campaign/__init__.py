"""The fault campaign: halves are killed, stopped and starved, and must train the same, to the bit.

`scripts/fault_campaign.sh` runs it; one module for each kind of fault.
"""
