"""The exchange over TCP (docs/carriers.md): messages go from memory to memory.

The run's directory stays: the manifest and the secret, the lease of each role, the heartbeat that
`dualnet status` shows and, where there are checkpoints, the messages that a restart needs are files
as with the carrier of files, and the same code writes them. A directory that both halves see is a
convenience here: it tells net2 where net1 listens, and lets a half be replayed after its partner
has left.

    channel.py ---- what a training loop sees; waiting.py waits
       |
    wire.py ------- both directions, whatever happens to the connection: sender.py and incoming.py
       |            arrivals.py keeps what came, store.py and message_files.py what was sent,
       |            neighbour.py what was heard
       |
    connection.py - what carries objects and messages until it breaks: frames.py on a socket
       |
    dial.py ------- makes connections; address.py says where, auth.py to whom, and reception.py
                    lets those in that prove themselves
"""

from dualnet.exchange.tcp.channel import TcpChannel

__all__ = ["TcpChannel"]
