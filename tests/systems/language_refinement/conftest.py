import pytest

from support.refined_photos import recovered_photo


@pytest.fixture(scope="session")
def recovered(tmp_path_factory):
    """Photo, folder of `recover`, keypoints; do not write into them."""
    return recovered_photo(tmp_path_factory.mktemp("recovered"))
