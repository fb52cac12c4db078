# An S3-speaking server for tests of snapshots: moto. Objects are in memory, so a killed one has lost them.
# Sourced by scripts/services.

s3_install() {
  need python3 python3
  need curl curl
  python3 -c 'import ensurepip, venv' 2>/dev/null || apt_install python3-venv "python3's venv"
  once s3 "$(fingerprint "$parts/s3/requirements.txt")" fetch_s3
}

# A virtual environment knows its own place, so it is made where it will stay.
fetch_s3() {
  rm -rf "$downloads/s3-venv"
  python3 -m venv "$downloads/s3-venv"
  "$downloads/s3-venv/bin/pip" install --disable-pip-version-check --require-hashes --no-deps -r "$parts/s3/requirements.txt"
}

s3_start() {
  launch s3 "$downloads/s3-venv/bin/python" -m moto.server -H 127.0.0.1 -p "$s3_port"
}

# Answers, and has the bucket.
s3_ready() { get -X PUT "http://127.0.0.1:$s3_port/tombola" -H "Authorization: AWS4-HMAC-SHA256 Credential=$service_user/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"; }

s3_endpoints() {
  echo "S3_URL=http://127.0.0.1:$s3_port"
  echo "S3_BUCKET=tombola"
  echo "S3_REGION=us-east-1"
  echo "S3_ACCESS_KEY=$service_user"
  echo "S3_SECRET_KEY=$service_password"
}
