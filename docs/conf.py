"""The documentation site: `sphinx-build -W docs site`, offline, from these pages and the code.

Sphinx with furo and MyST was chosen over MkDocs Material with mkdocstrings: of Sphinx
there were four releases in the last year (9.2 in October 2026), while the last one of
MkDocs itself, on which Material stands, is of August 2024. And autodoc imports the
package, so a name that is gone fails the build.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "docs")]

from _reference import generate, literal_blocks  # noqa: E402

from rx_agui import __version__  # noqa: E402

project = "rx_agui"
copyright = "the authors of rx_agui, MIT licence"
release = __version__

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "myst_parser"]
exclude_patterns = ["_reference.py", "conf.py", "draw_*.py"]
html_theme = "furo"
html_title = "rx_agui"
html_show_sourcelink = False

default_role = "code"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_member_order = "bysource"
napoleon_google_docstring = True
napoleon_use_ivar = True
napoleon_custom_sections = [("Errors", "params_style"), ("Answers", "params_style")]

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
suppress_warnings = ["myst.header"]


def setup(app: Any) -> None:
    """Write the generated pages before Sphinx looks for pages."""
    app.connect("config-inited", lambda *_: generate(ROOT))
    # Before napoleon, which runs at 500.
    app.connect("autodoc-process-docstring", literal_blocks, priority=400)
