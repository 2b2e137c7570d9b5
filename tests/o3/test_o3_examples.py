import doctest
import importlib
import pkgutil

import pytest

import clebsch.o3

MODULES = [m.name for m in pkgutil.iter_modules(clebsch.o3.__path__, "clebsch.o3.")]


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_the_docstrings(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_public_names_exist():
    assert all(hasattr(clebsch.o3, name) for name in clebsch.o3.__all__)
