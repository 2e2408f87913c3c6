"""Runs in either Caffe: resizes, classifies and detects, and stores what came out.

    python image_runner.py FOLDER RESULT

FOLDER holds net.prototxt, net.caffemodel, image0.png, image1.png (RGB), grey.png and mean.npy.
"""

import os
import sys

os.environ.setdefault("GLOG_minloglevel", "2")

import caffe
import caffe.io
import numpy as np


def mend_load_image():
    """BVLC's load_image fails with Debian's scikit-image, which spells `as_grey` otherwise."""
    skimage = getattr(caffe.io, "skimage", None)
    if skimage is None:
        return
    imread = skimage.io.imread

    def renamed(name, as_grey=False):
        return imread(name, as_gray=as_grey)

    skimage.io.imread = renamed


class LenientArray(np.ndarray):
    """Takes floats as slice bounds, as NumPy did when BVLC's Detector was written."""

    def __getitem__(self, key):
        return super().__getitem__(whole(key))

    def __setitem__(self, key, value):
        super().__setitem__(whole(key), value)


def whole(key):
    """Integers for the floats in an index of slices."""
    if not isinstance(key, tuple):
        return key
    return tuple(slice(int(s.start), int(s.stop)) if isinstance(s, slice) else s for s in key)


def mend_detector(detector):
    """Gives BVLC's Detector, which computes its slices in floats, lenient arrays."""
    if detector.context_pad and hasattr(caffe.io, "skimage"):
        crop, resize = detector.crop, caffe.io.resize_image
        detector.crop_mean = detector.crop_mean.view(LenientArray)
        detector.crop = lambda image, window: np.array(crop(image.view(LenientArray), window))
        caffe.io.resize_image = lambda image, size: resize(np.array(image), [int(n) for n in size])
    return detector


def main():
    """See the module."""
    mend_load_image()
    folder, result = sys.argv[1], sys.argv[2]
    names = [os.path.join(folder, name) for name in ("image0.png", "image1.png")]
    mean = np.load(os.path.join(folder, "mean.npy"))
    found = {}
    draw = np.random.RandomState(0)
    for channels in (1, 2, 3):
        image = draw.randn(6, 9, channels).astype(np.float32)
        for size in ((6, 9), (14, 11), (3, 4), (1, 2), (2, 13)):
            for order in (0, 1, 3) if channels != 2 else (0, 1):
                key = f"resize:{channels}:{size[0]}x{size[1]}:{order}"
                found[key] = caffe.io.resize_image(image, size, interp_order=order)
    for name in ("image0.png", "grey.png"):
        for color in (True, False):
            image = caffe.io.load_image(os.path.join(folder, name), color)
            found[f"load:{name}:{color}"] = image
    images = [caffe.io.load_image(name) for name in names]
    found["oversample"] = caffe.io.oversample(images[:1], (5, 4))
    settings = {"mean": mean, "input_scale": 0.5, "raw_scale": 255, "channel_swap": (2, 1, 0)}
    net = [os.path.join(folder, name) for name in ("net.prototxt", "net.caffemodel")]
    for dims in (None, (12, 10)):
        classifier = caffe.Classifier(*net, image_dims=dims, **settings)
        for oversample in (True, False):
            found[f"classify:{dims}:{oversample}"] = classifier.predict(images, oversample)
    windows = [np.array(w) for w in ((2, 3, 9, 12), (0, 0, 13, 17), (8, 9, 14, 16))]
    for pad in (None, 1, 2):
        for given in (settings, {}):
            detector = mend_detector(caffe.Detector(*net, context_pad=pad, **given))
            results = detector.detect_windows([(names[0], windows), (names[1], windows[:1])])
            assert [r["filename"] for r in results] == [names[0]] * 3 + [names[1]]
            key = f"detect:{pad}:{len(given)}"
            found[key] = np.array([r["prediction"] for r in results])
    transformer = caffe.io.Transformer({"data": (1, 3, 8, 8)})
    transformer.set_transpose("data", (2, 0, 1))
    transformer.set_channel_swap("data", (1, 2, 0))
    transformer.set_raw_scale("data", 3)
    transformer.set_mean("data", mean.mean(1).mean(1))
    transformer.set_input_scale("data", 0.25)
    found["preprocess"] = transformer.preprocess("data", images[0])
    found["deprocess"] = transformer.deprocess("data", found["preprocess"])
    np.savez(result, **found)


if __name__ == "__main__":
    main()
