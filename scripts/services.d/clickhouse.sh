# ClickHouse: the npm package's libchdb.so holds the whole program, and its own HTTP handler answers.
# Sourced by scripts/services.

clickhouse_install() {
  need python3 python3
  need curl curl
  local version
  version="$(fingerprint "$parts/clickhouse/package-lock.json")"
  [ "$(cat "$downloads/clickhouse/.complete" 2>/dev/null)" = "$version" ] || need npm npm
  once clickhouse "$version" fetch_clickhouse
}

fetch_clickhouse() {
  cp "$parts/clickhouse/package.json" "$parts/clickhouse/package-lock.json" "$1"
  (cd "$1" && npm ci --ignore-scripts --no-audit --no-fund)
}

clickhouse_start() {
  mkdir -p "$state/data/clickhouse"
  clickhouse_settings > "$state/run/clickhouse.xml"
  sed -e "s/@USER@/$service_user/g; s/@PASSWORD@/$service_password/g" "$parts/clickhouse/users.xml" > "$state/run/clickhouse-users.xml"
  launch clickhouse python3 "$parts/clickhouse/server.py" \
    "$downloads/clickhouse/node_modules/@chdb/lib-linux-x64-gnu/libchdb.so" "$state/run/clickhouse.xml"
}

clickhouse_settings() {
  sed -e "s|@DATA@|$state/data/clickhouse|; s|@USERS@|$state/run/clickhouse-users.xml|; s|@PORT@|$clickhouse_port|" \
    "$parts/clickhouse/config.xml"
}

clickhouse_query() {
  get "http://127.0.0.1:$clickhouse_port/" -H "X-ClickHouse-User: $service_user" -H "X-ClickHouse-Key: $service_password" --data-binary "$1"
}

clickhouse_ready() {
  [ "$(clickhouse_query 'SELECT 1')" = 1 ] && clickhouse_query "CREATE DATABASE IF NOT EXISTS $service_database"
}

clickhouse_endpoints() {
  echo "CLICKHOUSE_URL=http://127.0.0.1:$clickhouse_port"
  echo "CLICKHOUSE_USER=$service_user"
  echo "CLICKHOUSE_PASSWORD=$service_password"
  echo "CLICKHOUSE_DATABASE=$service_database"
}
