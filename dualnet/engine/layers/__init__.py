"""Layer types in families, as Caffe's manual orders them; README.md says how to write one."""
