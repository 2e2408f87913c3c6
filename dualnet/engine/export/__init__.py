"""A net as a program of PyTorch's (torch.export) or an ONNX file, which run without the engine.

There is no second implementation of Caffe's layers: PyTorch traces the engine's own. They are given
blobs whose tensors a trace holds and whose batch may have any size (`traced_blob`). Some layers are
written down anew, because their engine form looks at values or at the size of the batch, or changes
tensors in place at places where that makes a poor graph (`operations`, `windows`); `support` says
of each type whether it can be exported. `module` puts the layers in order, `program` traces them
and writes .pt2 files, `onnx_file` writes .onnx files.
"""
