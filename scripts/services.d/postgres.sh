# Postgres with logical decoding, in a cluster of its own. Sourced by scripts/services.

postgres_user="$service_user"
# A file that holds the only time this server knows (2017-10-02 10:56:33, UTC), to be replaced by renaming another over
# it. Debezium says when a change was committed: so it can have been long ago.
postgres_clock="${TOMBOLA_POSTGRES_CLOCK:-}"

# The port of a server of this machine whose standby this one becomes: it begins as its copy and follows it until it is
# promoted.
postgres_standby_of="${TOMBOLA_POSTGRES_STANDBY_OF:-}"

# The newest version the distribution has installed, else what it would install.
postgres_bin() {
  local newest
  newest="$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -t/ -k5 -n | tail -n 1)"
  [ -n "$newest" ] && echo "$newest"
}

postgres_install() {
  if ! postgres_bin >/dev/null; then
    # The package would start a cluster of the system's; ours is enough.
    if [ "$(id -u)" = 0 ] && [ ! -e /etc/postgresql-common/createcluster.conf ]; then
      mkdir -p /etc/postgresql-common
      echo 'create_main_cluster = false' > /etc/postgresql-common/createcluster.conf
    fi
    apt_install postgresql postgres
  fi
  need ps procps
  [ -z "$postgres_clock" ] || need faketime faketime
}

# Postgres refuses to be root; the package brought a user for it.
as_postgres() {
  if [ "$(id -u)" = 0 ]; then setpriv --reuid=postgres --regid=postgres --init-groups "$@"; else "$@"; fi
}

# Small, and honest: fsync stays on. Slots are limited in the log they may hold back, so that a forgotten one fills no disk.
postgres_settings() {
  cat <<SETTINGS
listen_addresses = '127.0.0.1'
port = $postgres_port
unix_socket_directories = ''
wal_level = logical
max_replication_slots = 10
max_wal_senders = 10
max_slot_wal_keep_size = 4GB
max_connections = 60
shared_buffers = 128MB
work_mem = 8MB
max_wal_size = 512MB
checkpoint_timeout = 5min
max_worker_processes = 4
max_parallel_workers = 0
ssl = on
fsync = on
synchronous_commit = on
wal_sender_timeout = 60s
log_line_prefix = '%m [%p] '
timezone = 'UTC'
log_timezone = 'UTC'
SETTINGS
  # By a clock that stands still and then leaps, every timeout is over at once.
  [ -z "$postgres_clock" ] || printf '%s\n' 'autovacuum = off' 'wal_sender_timeout = 0' 'checkpoint_timeout = 1d'
}

# The environment in which time is what the file says; monotonic clocks stay, as waiting goes by them.
postgres_time() {
  local library
  [ -n "$postgres_clock" ] || return 0
  library="$(ls /usr/lib/*/faketime/libfaketimeMT.so.1 2>/dev/null | head -n 1)"
  [ -n "$library" ] || die "libfaketime is missing: install the package 'libfaketime'"
  [ -r "$postgres_clock" ] || die "TOMBOLA_POSTGRES_CLOCK: there is no file $postgres_clock"
  printf '%s\n' TZ=UTC LD_PRELOAD="$library" FAKETIME_TIMESTAMP_FILE="$postgres_clock" FAKETIME_NO_CACHE=1 FAKETIME_DONT_FAKE_MONOTONIC=1
}

# A killed server that nobody has reaped yet counts as a living one to its successor. It is not, so its lock goes;
# one that does live keeps it, and the start fails with that reason.
drop_dead_lock() {
  local pid
  [ -r "$1/postmaster.pid" ] || return 0
  pid="$(head -n 1 "$1/postmaster.pid")"
  ! is_zombie "$pid" || rm -f "$1/postmaster.pid"
}

# A new cluster.
postgres_init() { # DATA
  local data="$1" password
  password="$(mktemp)"
  echo "$service_password" > "$password"
  chmod 644 "$password"
  as_postgres "$(postgres_bin)/initdb" -D "$data" -U "$postgres_user" --auth=scram-sha-256 --pwfile="$password" -E UTF8 --locale=C.UTF-8 \
    >> "$state/log/postgres" 2>&1 || { rm -f "$password"; tail -n 5 "$state/log/postgres" >&2; die "initdb failed"; }
  rm -f "$password"
  # Before what initdb wrote, as the first line that fits decides.
  as_postgres sh -c 'printf "hostnossl %s all all reject\n" "$1" | cat - "$0/pg_hba.conf" > "$0/pg_hba.new" && mv "$0/pg_hba.new" "$0/pg_hba.conf"' "$data" "$service_tls_database"
  as_postgres sh -c 'echo "include = '\''tombola.conf'\''" >> "$0/postgresql.conf"' "$data"
}

# A copy of the other server, with a slot there that keeps what this one hasn't had yet.
postgres_copy() { # DATA
  local from="host=127.0.0.1 port=$postgres_standby_of user=$postgres_user password=$service_password application_name=standby"
  as_postgres "$(postgres_bin)/pg_basebackup" -D "$1" -d "$from" -R -X stream -C -S standby --checkpoint=fast \
    >> "$state/log/postgres" 2>&1 || { tail -n 5 "$state/log/postgres" >&2; die "pg_basebackup failed"; }
}

postgres_start() {
  local data="$state/data/postgres" time file
  time="$(postgres_time)" || exit 1
  drop_dead_lock "$data"
  if [ ! -e "$data/PG_VERSION" ]; then
    mkdir -p "$data"
    chmod 700 "$data"
    [ "$(id -u)" != 0 ] || chown postgres: "$data"
    as_postgres test -w "$data" || die "Postgres' user can't reach $data; set TOMBOLA_SERVICES_STATE to a folder everybody may enter"
    if [ -n "$postgres_standby_of" ]; then postgres_copy "$data"; else postgres_init "$data"; fi
  fi
  tls_make
  # It wants its key for itself.
  for file in server.pem server.key; do as_postgres sh -c 'umask 077; cat > "$0"' "$data/${file/pem/crt}" < "$state/tls/$file"; done
  postgres_settings | as_postgres tee "$data/tombola.conf" >/dev/null
  if [ "$(id -u)" = 0 ]; then
    # shellcheck disable=SC2086 # assignments, one a word
    launch postgres setpriv --reuid=postgres --regid=postgres --init-groups env $time "$(postgres_bin)/postgres" -D "$data"
  else
    # shellcheck disable=SC2086 # assignments, one a word
    launch postgres env $time "$(postgres_bin)/postgres" -D "$data"
  fi
}

postgres_query() { # DATABASE SQL
  PGPASSWORD="$service_password" PGCONNECT_TIMEOUT=3 psql -h 127.0.0.1 -p "$postgres_port" -U "$postgres_user" -d "$1" -XAtq -v ON_ERROR_STOP=1 -c "$2"
}

# Answers a query in the database, which is made the first time, as is the other.
postgres_ready() {
  local name
  for name in "$service_tls_database" "$service_database"; do
    # One that is just starting says nothing at all.
    [ "$(postgres_query postgres "SELECT count(*) FROM pg_database WHERE datname = '$name'")" = 1 ] \
      || postgres_query postgres "CREATE DATABASE $name" || return 1
  done
  [ "$(postgres_query "$service_database" 'SELECT 1')" = 1 ]
}

postgres_endpoints() {
  echo "PG_URL=postgres://$postgres_user:$service_password@127.0.0.1:$postgres_port/$service_database"
  echo "CONNECT_PG_HOST=$connect_postgres_host"
  echo "CONNECT_PG_PORT=$connect_postgres_port"
  echo "CONNECT_PG_USER=$postgres_user"
  echo "CONNECT_PG_PASSWORD=$service_password"
  echo "CONNECT_PG_DATABASE=$service_database"
}
