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


def transform_all(found):
    """Transformers with every kind of mean, image and option; errors are kept by their kind."""
    draw = np.random.RandomState(3)
    means = {
        "none": None,
        "channels": draw.uniform(90, 160, 3),
        "same": draw.uniform(90, 160, (3, 6, 7)),
        "larger": draw.uniform(90, 160, (3, 11, 9)),
        "smaller": draw.uniform(90, 160, (3, 3, 4)),
        "one-plane": draw.uniform(90, 160, (1, 10, 10)),
        "flat": draw.uniform(90, 160, (6, 7)),
        "two-channels": draw.uniform(90, 160, 2),
        "four-axes": draw.uniform(90, 160, (1, 3, 6, 7)),
        "flat-of-other-size": draw.uniform(90, 160, (9, 9)),
    }
    images = {"same": draw.rand(6, 7, 3), "larger": draw.rand(12, 10, 3)}
    options = ({}, {"raw": 255, "swap": (2, 1, 0), "scale": 0.017}, {"scale": np.float64(3)})
    for mean_name, mean in means.items():
        for mean_type in (np.float32, np.float64, np.uint8):
            for image_name, image in images.items():
                for image_type in (np.float32, np.float64, np.uint8):
                    for number, option in enumerate(options):
                        pixels = image * 255 if image_type == np.uint8 else image
                        given = None if mean is None else mean.astype(mean_type)
                        key = [
                            "transform", mean_name, np.dtype(mean_type).name, image_name,
                            np.dtype(image_type).name, str(number),
                        ]  # fmt: skip
                        transform(":".join(key), given, pixels.astype(image_type), option, found)


def transform(key, mean, image, option, found):
    """One image there and back."""
    transformer = caffe.io.Transformer({"data": (1, 3, 6, 7)})
    transformer.set_transpose("data", (2, 0, 1))
    if "raw" in option:
        transformer.set_raw_scale("data", option["raw"])
    if "swap" in option:
        transformer.set_channel_swap("data", option["swap"])
    if "scale" in option:
        transformer.set_input_scale("data", option["scale"])
    try:
        if mean is not None:
            transformer.set_mean("data", mean)
            found[key + ":mean"] = transformer.mean["data"]
        there = transformer.preprocess("data", image.copy())
    except ValueError:
        found[key] = np.array("ValueError")
        return
    found[key] = there
    found[key + ":back"] = transformer.deprocess("data", there)


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
    for name in ("float64", "uint8"):
        image = (draw.rand(6, 9, 3) * 255).astype(name)
        for size in ((3, 4), (14, 11)):
            found[f"resize:{name}:{size[0]}x{size[1]}"] = caffe.io.resize_image(image, size)
    found["oversample:uint8"] = caffe.io.oversample([image.astype(np.uint8)] * 2, (3, 4))
    for name in sorted(os.listdir(os.path.join(folder, "loaded"))):
        for color in (True, False):
            image = caffe.io.load_image(os.path.join(folder, "loaded", name), color)
            found[f"load:{name}:{color}"] = image
    for size in (6, 8, 13):  # the net's input is 8 x 8
        other = {**settings, "mean": np.random.RandomState(size).uniform(90, 160, (3, size, size))}
        classifier = caffe.Classifier(*net, image_dims=(12, 10), **other)
        found[f"classify:mean:{size}"] = classifier.predict(images)
        detector = mend_detector(caffe.Detector(*net, context_pad=1, **other))
        results = detector.detect_windows([(names[0], windows)])
        found[f"detect:mean:{size}"] = np.array([r["prediction"] for r in results])
    transform_all(found)
    np.savez(result, **found)


if __name__ == "__main__":
    main()
