"""The Python interface: what `import dualnet` gives. The command line is written on it.

training.py trains, results.py looks at what has been trained, nets.py cuts nets. Nothing here
loads Caffe before it is needed, as the provider is chosen by the first config that names one.
"""
