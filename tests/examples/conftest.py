"""Running the course."""

import importlib

import numpy as np
import pytest
from matplotlib.image import imread


@pytest.fixture
def run(tmp_path, capsys):
    """Run a script; check the pictures; return the module, what it printed, and what it wrote, by name."""

    def run_script(name):
        script = importlib.import_module(name)
        assert script.main(["--out", str(tmp_path / "out")]) == 0
        printed = capsys.readouterr()
        assert printed.err == ""
        written = {path.name: path for path in (tmp_path / "out").iterdir()}
        pictures = [path for path in written.values() if path.suffix == ".png"]
        assert pictures
        for picture in pictures:
            pixels = imread(picture)[..., :3]
            assert min(pixels.shape[:2]) > 300
            assert pixels.std() > 0.05
            assert len(np.unique((pixels * 15).astype(int).reshape(-1, 3), axis=0)) > 10
        assert all(name in printed.out for name in written)
        return script, printed.out, written

    return run_script
