"""The exchange over torch.distributed (docs/carriers.md): the carrier tcp on gloo's connections.

Everything but the connection is `TcpChannel`'s: numbers, proofs, restart, the four states of a
partner. The halves are the ranks 0 (net1) and 1 (net2) of a process group of two that is made anew
for each connection, so that a half can be started again. They find each other through a TCPStore:

- under torchrun, its own, at MASTER_ADDR and MASTER_PORT;
- where only these two variables are set, one that net1 keeps there;
- with `exchange.address`, one that net1 keeps there;
- else one on any free port, which net1 writes into the exchange directory.

Gloo proves nobody's identity and does not sign what it sends: use it on a network that you trust.
The digest of each message is compared all the same.
"""

from dualnet.exchange.distributed.channel import DistributedChannel

__all__ = ["DistributedChannel"]
