"""The command `caffe`: train, test, time and device_query, with Caffe's flags, signals and log."""
