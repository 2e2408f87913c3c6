"""scripts/bench_pipelining.py: chains of pieces beside PyTorch's pipelines, on the same net.

input.py makes the images that all read, arena.py says where each process runs, methods.py what is
compared, pipeline.py runs PyTorch's, rounds.py interleaves the trainings and gives raw lines, and
summary.py makes tables of these.
"""
