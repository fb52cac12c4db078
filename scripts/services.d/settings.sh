# What can be set from outside, and the versions. Sourced by scripts/services.

# Ports are the base plus a number that recalls the service's usual port. Two instances: two bases.
port_base="${TOMBOLA_SERVICES_PORT_BASE:-21000}"
case "$port_base" in *[!0-9]* | "") echo "services: TOMBOLA_SERVICES_PORT_BASE must be a number, not '$port_base'" >&2; exit 2 ;; esac
kafka_port="${TOMBOLA_KAFKA_PORT:-$((port_base + 92))}"
kafka_controller_port="${TOMBOLA_KAFKA_CONTROLLER_PORT:-$((port_base + 93))}"
kafka_tls_port="${TOMBOLA_KAFKA_TLS_PORT:-$((port_base + 94))}"
registry_port="${TOMBOLA_REGISTRY_PORT:-$((port_base + 81))}"
connect_port="${TOMBOLA_CONNECT_PORT:-$((port_base + 83))}"
postgres_port="${TOMBOLA_POSTGRES_PORT:-$((port_base + 432))}"
clickhouse_port="${TOMBOLA_CLICKHOUSE_PORT:-$((port_base + 123))}"
s3_port="${TOMBOLA_S3_PORT:-$((port_base + 900))}"

# Downloads, shared by all instances; and one instance's data, logs and process ids. The state is not below
# $HOME, as Postgres refuses to run as root and its own user can't look into root's home.
downloads="${TOMBOLA_SERVICES_DIR:-$HOME/.cache/tombola/services}"
state="${TOMBOLA_SERVICES_STATE:-/var/tmp/tombola-services-$(id -u)-$port_base}"

# One user and one password for all: everything listens on loopback and holds test data.
service_user=tombola
service_password=tombola-local
service_database=tombola
# Lets nobody in without encryption.
service_tls_database=tombola_tls

s3_bucket=tombola

# Where Connect finds the others. In Docker it is not where we find them.
connect_postgres_host=127.0.0.1
connect_postgres_port="$postgres_port"
connect_registry_url="http://127.0.0.1:$registry_port"

default_services="kafka registry postgres connect clickhouse"
all_services="$default_services s3"
