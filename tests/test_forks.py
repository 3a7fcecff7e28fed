"""Notebooks run in forks of a process that has imported what they need."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tada.book import forks, notebooks

ROOT = Path(__file__).parent.parent
NOTEBOOK = """
# %%
import multiprocessing, os, sys

print("imported:", "torchsde" in sys.modules, "a fork:", multiprocessing.parent_process() is not None)
print("its own:", os.getsid(0) == os.getpid(), os.environ["OF_A_PAGE"], os.getcwd())

# %%
import matplotlib.pyplot as plt

plt.plot([0, 1])
plt.show()
"""
EXECUTE = """
import sys
from pathlib import Path
from tada.book import forks, notebooks

if __name__ == "__main__":
    forks.preload()
    for name in "one", "two":
        done = notebooks.execute(Path("page.py"), Path(f"{name}.ipynb"), {}, {"OF_A_PAGE": name}, home=Path(name))
        sys.exit(done.failure) if done.failure else None
"""


@pytest.mark.skipif(not forks.FORKING, reason="processes are forked on Linux alone")
def test_pages_begin_with_what_was_imported_and_share_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "page.py").write_text(NOTEBOOK)
    (tmp_path / "execute.py").write_text(EXECUTE)
    subprocess.run([sys.executable, "execute.py"], cwd=tmp_path, env={"PYTHONPATH": str(ROOT), "HOME": str(tmp_path)})
    for name in ("one", "two"):
        first, second = notebooks.nbformat.read(tmp_path / f"{name}.ipynb", 4).cells[-2:]
        said = first.outputs[0].text
        assert said == f"imported: True a fork: True\nits own: True {name} {tmp_path / name}\n"
        assert "image/png" in second.outputs[0].data, "figures are shown as Jupyter shows them"
