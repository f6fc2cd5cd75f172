"""Sphinx's settings for the site that `./run_all.sh --site` builds: offline, nothing from a CDN."""

import birdnb

project = "birdnb"
author = "The birdnb authors"
copyright = f"2026, {author}"
release = birdnb.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc"]
root_doc = "index"
exclude_patterns = ["docs", "doctrees", "html", "README.md"]

# chapters stand with the outputs they were committed with; no widget of theirs asks a CDN
nb_execution_mode = "off"
nb_ipywidgets_js = {}
nb_render_markdown_format = "myst"  # tables among the outputs, too
myst_heading_anchors = 4
suppress_warnings = ["mystnb.unknown_mime_type", "myst.header"]

autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
add_module_names = False
python_use_unqualified_type_names = True
maximum_signature_line_length = 88

html_theme = "furo"
html_title = "birdnb"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_theme_options = {"navigation_with_keys": True}
