#!/usr/bin/env bash
# Prepare the environment if needed, then hand over to `python -m birdnb.study`. See --help.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@" # as in: sh run_all.sh
set -euo pipefail
script=${BASH_SOURCE[0]}
while [ -L "$script" ]; do # called through a link, which may be relative to its own folder
  target=$(readlink "$script")
  case $target in /*) script=$target ;; *) script=$(dirname "$script")/$target ;; esac
done
here=$(CDPATH='' cd -P -- "$(dirname -- "$script")" && pwd)

fail() { printf 'error: %s\n' "$1" >&2; exit 2; }

fits() { case $1 in 3.1[1-4]) ;; *) return 1 ;; esac; } # torch has wheels; so says pyproject.toml

version_of() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null; }

find_python() { # the first that fits
  local name version found=""
  for name in python3 python3.14 python3.13 python3.12 python3.11 python; do
    version=$(version_of "$name") || continue
    if fits "$version"; then command -v "$name"; return; fi
    found="${found:+$found }$version"
  done
  fail "birdnb needs Python 3.11 to 3.14 (torch has no wheels for others) and found ${found:-none}: \
install one from python.org, or use environment.yml with conda"
}

active_environment() { # an active conda or virtual environment that already has birdnb is used as it is
  [ -n "${VIRTUAL_ENV:-}${CONDA_PREFIX:-}" ] || return 1
  command -v python >/dev/null && python -c 'import importlib.metadata as m; m.version("birdnb")' 2>/dev/null
}

set_up() { # make .venv, and install into it whenever pyproject.toml or constraints.txt has changed
  local stamp="$here/.venv/installed" log="$here/.venv/setup.log" wanted python dots status=0
  wanted=$(cat "$here/pyproject.toml" "$here/constraints.txt" | cksum)
  if [ -x "$here/.venv/bin/python" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then return; fi
  echo "Setting up the environment in .venv (about 3 GB to download, 6 GB on disk, 2 to 4 minutes; log: .venv/setup.log)"
  # not there, broken off half-way, or of a Python that does not fit
  if ! { fits "$(version_of "$here/.venv/bin/python")" &&
    "$here/.venv/bin/python" -m pip --version >/dev/null 2>&1; }; then
    python=$(find_python) || exit 2
    "$python" -m venv --clear "$here/.venv" || fail "could not make .venv: see the message above"
  fi
  (while sleep 20 >/dev/null 2>&1 && kill -0 $$ 2>/dev/null; do printf .; done) & # a sign of life
  dots=$!
  (cd "$here" && .venv/bin/python -m pip install --disable-pip-version-check \
    --constraint constraints.txt --editable . >"$log" 2>&1) || status=$?
  kill "$dots"
  wait "$dots" 2>/dev/null || true
  echo
  if [ "$status" -ne 0 ]; then
    tail -n 5 "$log" >&2
    fail "the installation failed (whole log: .venv/setup.log); run the same command again to go on"
  fi
  printf '%s\n' "$wanted" >"$stamp"
  echo "The environment stands."
}

add_site() { # what makes the pages, only for those who ask for them
  "$python" -c 'import furo, myst_nb, sphinx' 2>/dev/null && return
  echo "Installing what makes the site (Sphinx, MyST-NB, Furo)"
  (cd "$here" && "$python" -m pip install --quiet --disable-pip-version-check \
    --constraint constraints.txt --editable '.[site]') || fail "the installation failed: see the message above"
}

for word in "$@"; do
  [ "$word" = "--" ] && break
  if [ "$word" = "--help" ] || [ "$word" = "-h" ]; then # answers before anything is installed
    python=$(find_python) || exit 2
    PYTHONPATH="$here" exec "$python" -m birdnb.study --help
  fi
done
if active_environment; then python=python; else set_up; python="$here/.venv/bin/python"; fi
for word in "$@"; do
  [ "$word" = "--" ] && break
  [ "$word" = "--setup" ] && exit 0
  [ "$word" = "--site" ] && add_site
done
export PYTHONPATH="$here${PYTHONPATH:+:$PYTHONPATH}" # this copy of birdnb, whichever one the environment holds
exec "$python" -m birdnb.study "$@"
