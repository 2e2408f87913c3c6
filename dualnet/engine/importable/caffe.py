"""What `import caffe` finds in Python processes that a program on the engine starts.

multiprocessing's `spawn` and `forkserver` hand on this process's sys.path, but not its modules.
`dualnet.engine.register` puts this file's folder at the end of the path.
"""

from dualnet import engine

engine.register()
