from __future__ import annotations

from importlib.metadata import version as installed_version

project = "rolesanywhere-auth"
author = "the rolesanywhere-auth authors"
copyright = author
release = version = installed_version("rolesanywhere-auth")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"{project} {release}"

nitpicky = True
# Other projects' names. Looking them up would need the network, so that they are plain text.
nitpick_ignore_regex = [
    ("py:.*", r"(boto3|botocore|cryptography|types_boto3|pytest|_pytest|moto|os|ssl|x509)\..*"),
    ("py:.*", r"(collections\.abc|datetime|typing|pathlib|http|threading|socket)\..*"),
    ("py:(class|exc|obj|data)", r"[A-Z][A-Za-z]*Error|[a-z]+|timedelta|datetime|Path|PathLike"),
]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_class_signature = "mixed"
napoleon_use_ivar = True
