# Kafka and Avro from Python: clients that share nothing with ours, for tests. Sourced by scripts/services.

python_requirements="$parts/python/requirements.txt"

# A folder for each minor version of Python, as the packages are compiled for one.
python_tool() {
  local minor name
  need python3 python3
  minor="$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')"
  name="python-$minor"
  python3 -m pip --version >/dev/null 2>&1 || [ -r "$downloads/$name/.complete" ] || apt_install python3-pip pip
  once "$name" "$(fingerprint "$python_requirements")" fetch_python
  PYTHONPATH="$downloads/$name" PYTHONDONTWRITEBYTECODE=1 exec python3 "$@"
}

fetch_python() { python3 -m pip install --quiet --only-binary :all: --require-hashes -r "$python_requirements" --target "$1"; }
