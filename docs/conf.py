"""The documentation site: pages in Markdown, and reference pages that are made from the code.

scripts/build_docs.sh builds it. Its source folder is the repository's root, so that the same links
and pictures work on the site and where the Markdown files are read as they are.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from dualnet import __version__

project = "dualnet"
author = "dualnet authors"
version = release = __version__
root_doc = "docs/index"
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "generators",
]
include_patterns = ["docs/**", "results/**", "configs/README.md", "CHANGELOG.md"]
exclude_patterns = [
    ".*",
    "build",
    "data",
    "dualnet",
    "nets",
    "prototxt",
    "requirements",
    "runs",
    "scripts",
    "tests",
    "results/quickstart",
    "results/reliability/remarks.md",  # a part of the page beside it
]

# Links are checked: a missing page, heading or file is a warning, and a warning ends the build.
nitpicky = True
myst_heading_anchors = 3
myst_enable_extensions = ["dollarmath"]
myst_dmath_double_inline = True
# "f(x)=5 $": prices and shell prompts are no formulas.
myst_dmath_allow_space = False
myst_dmath_allow_digits = False

# Docstrings have code between single backquotes; `--set` has two hyphens and no dash.
default_role = "code"
smartquotes = False
highlight_language = "none"
autodoc_typehints = "description"
napoleon_google_docstring = True
#: Fields of named tuples are documented by autodoc already.
napoleon_use_ivar = True
napoleon_numpy_docstring = False

# All that a page needs is in the site: it is read without a network. Formulas are MathML.
html_math_renderer = "mathml"
html_theme = "furo"
html_title = "dualnet"
templates_path = ["templates"]
html_additional_pages = {"index": "front.html"}
html_static_path = ["static"]
html_css_files = ["site.css"]
html_use_index = False
html_domain_indices = False
html_show_copyright = False
html_show_sourcelink = False
html_copy_source = False

#: Docstrings name classes as the code imports them, from modules that have no page of their own.
nitpick_ignore_regex = [("py:.*", ".*")]
