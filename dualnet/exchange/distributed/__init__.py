"""The exchange over torch.distributed: the carrier tcp on gloo's connections.

Everything but the connection is `TcpChannel`'s: numbers, proofs, restart, failure detection. The
ends of a link are the ranks 0 (lower) and 1 (upper) of a process group of two that is made again
for each connection, so that a piece can be started again. They find each other through a TCPStore:

- under torchrun, its own, at MASTER_ADDR and MASTER_PORT;
- where only these two variables are set, one that net1 keeps there;
- with `exchange.address`, one that the lower end of each link keeps at the address of that link;
- else one on any free port, which the lower end writes into the link's folder.

Gloo proves nobody's identity and does not sign what it sends: use it on a network that you trust.
The digest of each message is compared all the same.
"""

from dualnet.exchange.distributed.channel import DistributedChannel

__all__ = ["DistributedChannel"]
