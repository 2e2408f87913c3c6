"""What `import caffe` finds in Python processes that a program on the engine starts anew.

They know this process's sys.path (multiprocessing's `spawn` and `forkserver` hand it on) and not
its modules. `dualnet.engine.register` puts this file's folder at the end of the path.
"""

from dualnet import engine

engine.register()
