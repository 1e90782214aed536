import driver
import pytest
from function_template import Probe


@pytest.fixture(scope="module")
def launcher(tmp_path_factory):
    """With the runtime clients of this checkout."""
    made = driver.Launcher(tmp_path_factory.mktemp("data"), instance="pytest26", share=driver.ROOT)
    yield made
    assert made.stop() == 0
    assert driver.traces("pytest26", made.data) == []


@pytest.fixture
def probe(launcher):
    made = []

    def make(init, **options):
        made.append(Probe(launcher, init, **options))
        return made[-1]

    yield make
    for template in made:
        template.kill()
