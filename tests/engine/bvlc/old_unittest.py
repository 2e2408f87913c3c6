"""A pytest plugin: names of unittest that Python 3.12 removed and that Caffe's tests use."""

from __future__ import annotations

import unittest

_OLD = {
    "assertEquals": "assertEqual",
    "assertItemsEqual": "assertCountEqual",
    "assertRaisesRegexp": "assertRaisesRegex",
}

for _old, _new in _OLD.items():
    if not hasattr(unittest.TestCase, _old):
        setattr(unittest.TestCase, _old, getattr(unittest.TestCase, _new))
