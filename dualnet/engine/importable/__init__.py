"""A folder for sys.path; see caffe.py there."""
