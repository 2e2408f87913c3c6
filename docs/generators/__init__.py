"""The Sphinx extension that makes reference pages from the code, and formulas without a network.

A page names what it wants by a directive, as `{dualnet-commands}`; each is made anew with the site,
so that no page has to follow when an option or a key changes.
"""

from __future__ import annotations

from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from generators import commands, configuration, exit_codes, mathml, run_directory, scripts

#: Directive to the function that writes its Markdown.
WRITERS = {
    "dualnet-commands": commands.write,
    "dualnet-configuration": configuration.write,
    "dualnet-exit-codes": exit_codes.write,
    "dualnet-run-directory": run_directory.write,
    "dualnet-exchange-directory": run_directory.write_exchange,
    "dualnet-message-trailer": run_directory.write_trailer,
    "dualnet-scripts": scripts.write,
}


class Generated(SphinxDirective):
    """Puts the Markdown that a function writes in the place of the directive."""

    def run(self) -> list[nodes.Node]:
        try:
            lines = list(WRITERS[self.name]())
        except LookupError as error:
            logging.getLogger(__name__).warning("%s: %s", self.name, error)
            return []
        parent = nodes.section()
        parent.document = self.state.document
        source, _ = self.get_source_info()
        self.state.nested_parse(
            StringList(lines, source), self.content_offset, parent, match_titles=True
        )
        return parent.children


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directives and the renderer of formulas."""
    for name in WRITERS:
        app.add_directive(name, Generated)
    mathml.setup(app)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
