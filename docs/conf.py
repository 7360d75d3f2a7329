from __future__ import annotations

import sys
from importlib.metadata import version as installed_version
from pathlib import Path

sys.path.append(str(Path(__file__).parent))

project = "rolesanywhere-auth"
author = "the rolesanywhere-auth authors"
copyright = author
release = version = installed_version("rolesanywhere-auth")

extensions = [
    "diagrams",  # beside this file
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_title = f"{project} {release}"

default_role = "py:obj"  # `name` in a docstring is a link where the reference has the name

nitpicky = True
# Other projects' names. Looking them up would need the network, so that they are plain text.
nitpick_ignore_regex = [
    ("py:.*", r"(boto3|botocore|cryptography|moto|pytest|x509)\..*"),
    ("py:.*", r"(collections\.abc|contextlib|datetime|os|pathlib|ssl|threading|typing)\..*"),
    (
        "py:.*",
        r"(Callable\[\[\]|Iterator|Literal|Mapping|Path|PathLike|Random|Sequence|datetime|timedelta)",
    ),
    ("py:.*", r"(bool|bytes|dict|float|int|list|object|str|tuple|type|[A-Z]\w+Error)"),
    # Aliases and parts of types that need no entry of their own: the docstring says what fits.
    ("py:.*", r"(Certificate|CircuitState|Contents|EventKind|LeafFiles|Passphrase|PublicKey)"),
    ("py:.*", r"(ReadOnlyCredentials|Readable|Reference|Service|Source|State)"),
    ("py:.*", r"rolesanywhere_auth\.(certificates|keys|testing\._\w+|testing\.service)\..*"),
    ("py:.*", r"(opentelemetry|prometheus_client)\..*"),
    ("py:obj", r".*"),  # the default role also marks arguments and other words
    ("py:.*", r"(CollectorRegistry|MeterProvider|TracerProvider|Target|(trace|metrics)\.\w+)"),
    # A docstring of data that begins with a clause and a colon is read as a type.
    ("py:class", r".* .*"),
]

autodoc_mock_imports = ["aiobotocore"]  # it pins a botocore of its own
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_class_signature = "mixed"
napoleon_use_ivar = True
