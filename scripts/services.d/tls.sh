# An authority of this instance, and the certificate that Kafka and Postgres show. Sourced by scripts/services.

# For the name `localhost` and not for 127.0.0.1, so that it shows who compares names; and an authority that signed nothing.
tls_make() {
  local dir="$state/tls"
  [ ! -e "$dir/server.pem" ] || return 0
  need openssl openssl
  mkdir -p "$dir"
  (
    umask 077
    tls_authority "$dir/ca" "Tombola's test services"
    tls_authority "$dir/stranger" "Nobody's authority"
    printf '%s\n' 'subjectAltName=DNS:localhost' 'basicConstraints=CA:FALSE' 'extendedKeyUsage=serverAuth' > "$dir/extensions"
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost -keyout "$dir/server.key" -out "$dir/server.csr"
    openssl x509 -req -in "$dir/server.csr" -CA "$dir/ca.pem" -CAkey "$dir/ca.key" -set_serial 1 -days 30 -extfile "$dir/extensions" -out "$dir/server.new"
    cat "$dir/server.key" "$dir/server.new" > "$dir/kafka.pem"
    chmod 644 "$dir/ca.pem" "$dir/stranger.pem"
    mv "$dir/server.new" "$dir/server.pem" # the last step: it's made when this is there
  ) >> "$state/log/tls" 2>&1 || { tail -n 5 "$state/log/tls" >&2; die "making certificates failed"; }
}

tls_authority() { # FILE NAME
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj "/CN=$2" \
    -addext 'basicConstraints=critical,CA:TRUE' -addext 'keyUsage=critical,keyCertSign' -keyout "$1.key" -out "$1.pem"
}

# Only processes of our own speak TLS, containers don't.
tls_endpoints() {
  [ -e "$state/tls/server.pem" ] || return 0
  echo "TLS_DIR=$state/tls"
  [ ! -e "$state/run/kafka" ] || echo "KAFKA_TLS_BOOTSTRAP=localhost:$kafka_tls_port"
  [ ! -e "$state/run/kafka" ] || echo "KAFKA_TLS_USER=$service_user"
  [ ! -e "$state/run/kafka" ] || echo "KAFKA_TLS_PASSWORD=$service_password"
  [ ! -e "$state/run/postgres" ] || echo "PG_TLS_URL=postgres://$postgres_user:$service_password@localhost:$postgres_port/$service_tls_database"
}
