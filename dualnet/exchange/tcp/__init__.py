"""The exchange over TCP (docs/explanation/carriers.md): messages go from memory to memory.

The run's directory stays: the manifest and the secret, the lease of each piece, the heartbeat that
`dualnet status` shows and, where there are checkpoints, the messages that a restart needs are files
as with the carrier of files, and the same code writes them. A directory that both ends of a link
see is a convenience here: it tells the upper end where the lower one listens, and lets a piece be
replayed after its neighbour has left.

    channel.py ---- what a training loop sees; waiting.py waits
       |
    wire.py ------- both directions, whatever happens to the connection: sender.py and incoming.py;
       |            arrivals.py keeps what arrived, store.py and message_files.py what was sent,
       |            neighbour.py the neighbour's status
       |
    connection.py - what carries objects and messages until it fails: frames.py on a socket
       |
    dial.py ------- makes connections; address.py says where, auth.py to whom, and reception.py
                    accepts those that prove themselves
"""

from dualnet.exchange.tcp.channel import TcpChannel

__all__ = ["TcpChannel"]
