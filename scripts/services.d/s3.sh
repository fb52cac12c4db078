# An S3-speaking server over a folder, for tests of snapshots: s3s-fs, built by cargo. It knows conditional puts
# (If-None-Match), lists and multipart uploads, checks signatures, and keeps objects through a kill.
# Sourced by scripts/services.

# The newest that builds with this workspace's Rust.
s3_version=0.14.1

s3_install() {
  need curl curl
  [ "$(cat "$downloads/s3/.complete" 2>/dev/null)" = "$s3_version" ] || command -v cargo >/dev/null || die "'cargo' is missing: install Rust"
  once s3 "$s3_version" fetch_s3
}

# --locked takes the versions and checksums its release was made with.
fetch_s3() {
  # Hardly optimised: it is built in half the time, and fast enough for tests.
  CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_LTO=off CARGO_TARGET_DIR="$1/target" \
    cargo install s3s-fs --version "=$s3_version" --locked --features binary --root "$1" && rm -rf "$1/target"
}

# A bucket is a folder.
s3_start() {
  mkdir -p "$state/data/s3/$s3_bucket"
  launch s3 env RUST_LOG=warn "$downloads/s3/bin/s3s-fs" --host 127.0.0.1 --port "$s3_port" \
    --access-key "$service_user" --secret-key "$service_password" "$state/data/s3"
}

# Lists the bucket, signed.
s3_ready() {
  get --aws-sigv4 aws:amz:us-east-1:s3 -H 'x-amz-content-sha256: UNSIGNED-PAYLOAD' --user "$service_user:$service_password" "http://127.0.0.1:$s3_port/$s3_bucket?list-type=2"
}

s3_endpoints() {
  echo "S3_URL=http://127.0.0.1:$s3_port"
  echo "S3_BUCKET=$s3_bucket"
  echo "S3_REGION=us-east-1"
  echo "S3_ACCESS_KEY=$service_user"
  echo "S3_SECRET_KEY=$service_password"
}
