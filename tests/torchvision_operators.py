"""Lets tests import torchvision, and what needs it, beside a PyTorch without its compiled operators.

Their names are declared before anybody imports it, as they stand in its own file; whoever calls one gets an error.
"""

import re
from importlib.util import find_spec
from pathlib import Path

import torch

REGISTERED = re.compile(r'(?:@register_meta\("|register_fake\("torchvision::)(\w+)"')


def declare():
    """The declarations, which hold as long as the library that is given back lives; None without torchvision."""
    package = find_spec("torchvision")
    if package is None:
        return None
    library = torch.library.Library("torchvision", "FRAGMENT")
    source = Path(package.submodule_search_locations[0], "_meta_registrations.py").read_text()
    for name in sorted({*REGISTERED.findall(source)}):
        library.define(f"{name}(Tensor x) -> Tensor")
    return library
