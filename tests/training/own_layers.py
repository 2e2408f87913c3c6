"""Layers as users write them in Python."""

from __future__ import annotations

import caffe
import numpy as np


class Feeder(caffe.Layer):
    """Makes other images, masks and labels each time, the same ones in each net."""

    def setup(self, bottom, top):
        self.draw = np.random.RandomState(5)

    def reshape(self, bottom, top):
        for i, shape in enumerate(((6, 1, 8, 8), (6, 4, 8, 8), (6,))):
            top[i].reshape(*shape)  # BVLC Caffe's list of blobs can only be indexed

    def forward(self, bottom, top):
        for i in range(2):
            top[i].data[...] = self.draw.rand(*top[i].data.shape)
        top[2].data[...] = self.draw.randint(0, 10, len(top[2].data))

    def backward(self, top, propagate_down, bottom):
        pass


class Times(caffe.Layer):
    """The product of two blobs, of which the second is given."""

    def setup(self, bottom, top):
        pass

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].data.shape)

    def forward(self, bottom, top):
        top[0].data[...] = bottom[0].data * bottom[1].data

    def backward(self, top, propagate_down, bottom):
        bottom[0].diff[...] = top[0].diff * bottom[1].data
