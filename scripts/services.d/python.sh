# Kafka and Avro from Python: clients that share nothing with ours, for tests. Sourced by scripts/services.

python_requirements="$parts/python/requirements.txt"

# A folder for each minor version of Python, as the packages are compiled for one.
python_install() {
  need python3 python3
  python_name="python-$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')"
  python3 -m pip --version >/dev/null 2>&1 || [ -r "$downloads/$python_name/.complete" ] || apt_install python3-pip pip
  once "$python_name" "$(fingerprint "$python_requirements")" fetch_python
}

python_tool() {
  python_install
  PYTHONPATH="$downloads/$python_name" PYTHONDONTWRITEBYTECODE=1 exec python3 "$@"
}

fetch_python() { python3 -m pip install --quiet --only-binary :all: --require-hashes -r "$python_requirements" --target "$1"; }
