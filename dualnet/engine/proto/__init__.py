"""Caffe's protobuf messages: caffe.proto, and caffe_pb2 built from it."""
