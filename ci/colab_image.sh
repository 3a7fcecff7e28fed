#!/usr/bin/env bash
# What a reader does on Colab, in Colab's own runtime image, on its CPU: install the package beside the packages that
# are there, check that torch and numpy stayed, and run every committed notebook at the smoke profile by papermill alone.
#
#   ci/colab_image.sh                 run it in the image, with docker
#   ci/colab_image.sh --here          run it in this environment (what the container does)
#   ci/colab_image.sh --here --dry    only say what pip would install
set -euo pipefail
cd "$(dirname "$0")/.."
IMAGE=${COLAB_IMAGE:-us-docker.pkg.dev/colab-images/public/runtime:latest}
PYTHON=${PYTHON:-python3}

in_image() {
    command -v docker > /dev/null || { echo "docker is not installed: use --here inside a Colab runtime" >&2; exit 2; }
    docker run --rm --entrypoint bash --volume "$PWD:/checkout:ro" "$IMAGE" -c \
        'cp -r /checkout /content/tada && cd /content/tada && rm -rf _build .venv && ci/colab_image.sh --here'
}

kept() { # versions of what Colab brings along
    "$PYTHON" - << 'END'
from importlib.metadata import PackageNotFoundError, version
for name in ("numpy", "torch"):
    try:
        print(name, version(name))
    except PackageNotFoundError:
        print(name, "none")
END
}

here() {
    if [ "${1:-}" = --dry ]; then
        "$PYTHON" -m pip install --dry-run .
        return
    fi
    local place=_build/colab/notebooks # as on Colab: notebooks, the wheel that their first cell installs, no checkout
    rm -rf _build/colab && mkdir -p "$place"
    cp notebooks/*.ipynb "$place"
    "$PYTHON" -m pip wheel --quiet --no-deps --wheel-dir "$place" .
    kept > _build/colab/before.txt
    "$PYTHON" -m pip install --quiet "$place"/*.whl
    kept > _build/colab/after.txt
    diff _build/colab/before.txt _build/colab/after.txt || { echo "the installation replaced what Colab brings along" >&2; exit 1; }
    "$PYTHON" -m pip install --quiet papermill
    "$PYTHON" -c 'import tada.book.colab; print(tada.book.colab.setup())'
    for notebook in "$place"/*.ipynb; do
        echo "== $notebook"
        "$PYTHON" -m papermill --no-progress-bar --cwd "$place" -p profile smoke "$notebook" "_build/colab/$(basename "$notebook")"
    done
}

if [ "${1:-}" = --here ]; then
    here "${2:-}"
else
    in_image
fi
