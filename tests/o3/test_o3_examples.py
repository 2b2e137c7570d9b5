import clebsch.o3


def test_public_names_exist():
    assert all(hasattr(clebsch.o3, name) for name in clebsch.o3.__all__)
